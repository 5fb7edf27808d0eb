"""Whether the clock can be trusted: nothing is removed by a clock that has just jumped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orbsite.models.clock import Clock

SKEW = timedelta(minutes=5)
"""By how much the clocks of hosts may differ."""
LEAP = timedelta(days=1)
"""The longest time between two looks at a clock that is believed at once, and how long one goes on after a jump."""
_ONLY = 1
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class ClockStatus:
    """What a look at the clock told."""

    is_trusted: bool
    day_is_new: bool = False
    message: str = ""


def look(now: datetime, *, trust: bool = False) -> ClockStatus:
    """Look at the clock, and remember it, for all hosts that share the database.

    A clock that lies before the last moment that was believed, or more than a day after it, has jumped, or nobody
    looked for so long: it is believed once it has gone on steadily for a day, or at once with `trust`.
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
    """Remember that what is done once a day is done."""
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
            "manage.py run_orb_maintenance --trust-clock"
        ),
    )


def _follows(now: datetime, before: datetime) -> bool:
    return -SKEW <= now - before <= LEAP


def _as_conditions(values: dict[str, datetime | None]) -> dict[str, object]:
    return {name if value is not None else f"{name}__isnull": value or True for name, value in values.items()}
