"""Errors of the SQLite backend that Django does not have."""

from __future__ import annotations

from django.db import OperationalError


class DatabaseMissing(OperationalError):
    """The database file does not exist, and connections do not create it."""
