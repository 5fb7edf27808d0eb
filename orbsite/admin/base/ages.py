"""Moments and durations in words, such as `3 days ago` and `about 2 minutes`."""

from __future__ import annotations

from datetime import UTC, datetime

from django.utils.timesince import timesince

_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_MOST = 2
"""A duration is told in the largest unit of which it has at least this many."""


def age(moment: datetime, now: datetime) -> str:
    """Return the time since a moment in its largest unit, such as `3 days`; the shortest is `0 minutes`."""
    return str(timesince(moment, now, depth=1))


def when(moment: datetime | None, now: datetime) -> str:
    """Return how long ago a moment was: `never`, `just now`, `3 days ago` or `in the future`."""
    if moment is None:
        return "never"
    if moment > now:
        return "in the future"
    since = age(moment, now)
    return "just now" if since.startswith("0") else f"{since} ago"


def lasting(seconds: float) -> str:
    """Return a duration in whole units, such as `90 seconds` or `3 hours`."""
    if seconds < 1:
        return "less than a second"
    size, unit = next((one for one in _UNITS if seconds >= _MOST * one[0]), _UNITS[-1])
    number = round(seconds / size)
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def about(seconds: float) -> str:
    """Return an estimated duration, such as `about 3 hours`."""
    return lasting(seconds) if seconds < 1 else f"about {lasting(seconds)}"


def exactly(moment: datetime) -> str:
    """Return a moment as a sentence has it, such as `29 November 2026 at 15:46 UTC`."""
    local = moment.astimezone(UTC)
    return f"{local.day} {local:%B %Y} at {local:%H:%M} UTC"
