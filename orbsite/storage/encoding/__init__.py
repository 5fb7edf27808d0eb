"""Encodings: JSON, timestamps and ids in URLs. Imports only errors and findings."""
