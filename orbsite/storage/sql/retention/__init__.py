"""Retention by the database itself, batch by batch."""
