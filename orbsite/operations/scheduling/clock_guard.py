"""Decides whether the clock can be trusted. Nothing is removed after a jump of the clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orbsite.models.clock import Clock
from orbsite.runtime.home import program

SKEW = timedelta(minutes=5)
"""The maximum difference between the clocks of hosts."""
LEAP = timedelta(days=1)
"""The longest step of the clock that is trusted at once, and the time that it must run evenly after a jump."""
_ONLY = 1
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class ClockStatus:
    """The result of a check of the clock."""

    is_trusted: bool
    day_is_new: bool = False
    message: str = ""


def look(now: datetime, *, trust: bool = False) -> ClockStatus:
    """Check the clock, and save its time for all hosts that share the database.

    A clock that is before the last trusted time, or more than a day after it, has jumped, or has not been checked for
    so long. It is trusted once it has run evenly for a day, or at once with `trust`.
    """
    for _ in range(_ATTEMPTS):
        clock, _ = Clock.objects.get_or_create(pk=_ONLY, defaults={"trusted": now})
        old = {"trusted": clock.trusted, "since": clock.since, "seen": clock.seen}
        status = _judge(clock, now, trust=trust)
        new = {"trusted": clock.trusted, "since": clock.since, "seen": clock.seen}
        if old == new or Clock.objects.filter(pk=_ONLY, **_as_conditions(old)).update(**new):
            return status
    return ClockStatus(is_trusted=False, message="others write down the clock all the time; try again")


def note_day(now: datetime) -> None:
    """Save the day on which the daily tasks were done."""
    Clock.objects.filter(pk=_ONLY).update(day=now.date())


def _judge(clock: Clock, now: datetime, *, trust: bool) -> ClockStatus:
    day_is_new = clock.day != now.date()
    if trust or _follows(now, clock.trusted):
        clock.trusted = now if trust else max(now, clock.trusted)
        clock.since = clock.seen = None
        return ClockStatus(is_trusted=True, day_is_new=day_is_new)
    if clock.since is None or clock.seen is None or not _follows(now, clock.seen):
        clock.since = clock.seen = now
    clock.seen = max(now, clock.seen)
    if now - clock.since >= LEAP:
        clock.trusted, clock.since, clock.seen = now, None, None
        return ClockStatus(is_trusted=True, day_is_new=day_is_new)
    way = "back" if now < clock.trusted else "forward, or no maintenance ran for more than a day"
    return ClockStatus(
        is_trusted=False,
        message=(
            f"the clock says {now:%Y-%m-%d %H:%M:%S}Z, after {clock.trusted:%Y-%m-%d %H:%M:%S}Z: it jumped {way}. "
            "Nothing is removed until it has gone on steadily for a day; where it is right, run: "
            f"{program()} run_orb_maintenance --trust-clock"
        ),
    )


def _follows(now: datetime, before: datetime) -> bool:
    return -SKEW <= now - before <= LEAP


def _as_conditions(values: dict[str, datetime | None]) -> dict[str, object]:
    return {name if value is not None else f"{name}__isnull": value or True for name, value in values.items()}
