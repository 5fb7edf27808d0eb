"""Retention in SQL: the database selects rows, writes tombstones and deletes, batch by batch."""
