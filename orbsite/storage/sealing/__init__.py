"""Compression and encryption of stored bytes, and the keys for it. Imports the errors of storage alone."""
