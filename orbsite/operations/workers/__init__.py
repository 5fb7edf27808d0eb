"""Processes that do long work: their names and heartbeats."""
