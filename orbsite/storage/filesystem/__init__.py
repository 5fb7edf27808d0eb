"""Durable files: directories, atomic replacement, locks and system calls. Imports encoding and what is below."""
