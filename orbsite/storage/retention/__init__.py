"""Retention policies as pure functions over records: no I/O. Imports records and what is below."""
