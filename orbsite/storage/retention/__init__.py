"""Retention policies as pure functions over records, without I/O. Imports records and what is below."""
