"""What the connection raises that Django's own does not."""

from __future__ import annotations

from django.db import OperationalError


class DatabaseMissing(OperationalError):
    """The file of the database is not there; no connection creates it."""
