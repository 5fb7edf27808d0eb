"""The clock that is used where a caller brings none."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return this instant, in UTC."""
    return datetime.now(UTC)
