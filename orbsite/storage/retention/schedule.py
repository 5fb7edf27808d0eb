"""Schedules of policies: an interval, or a time of day on each day, on one day of each week, or on one of each month.

A local time that a change of clocks skips or repeats is read as in RFC 5545, section 3.3.5: a skipped time with the
UTC offset from before the change, and a repeated time as its first occurrence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from typing_extensions import override

from orbsite.storage.errors import InvalidPolicy

UNITS = {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
"""The units of an interval in seconds, the longest first."""
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAYS_OF_A_WEEK, _MONTHS_OF_A_YEAR = 7, 12
_DAYS_OF_ANY_MONTH = 28
_FIRST, _LAST = datetime(2, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""The earliest and the latest moment of a schedule; the latest stands for all later ones."""
_UNOFFERED = ("Etc/", "SystemV/", "US/")
_OF_ONE_MACHINE = {"localtime", "posixrules", "Factory"}


class Repeat(StrEnum):
    """How often a policy is due."""

    INTERVAL = "interval"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Schedule(ABC):
    """The due moments of a policy. All moments are aware; those that are returned are in UTC."""

    zone: tzinfo
    """The time zone in which people read the moments."""

    @abstractmethod
    def next_after(self, moment: datetime) -> datetime:
        """Return the first due moment after a moment."""

    @abstractmethod
    def coalesced(self, due: datetime, now: datetime) -> tuple[int, datetime]:
        """Return the number of due moments after `due` that have passed, and the first one that has not."""

    @abstractmethod
    def in_words(self) -> str:
        """Return the schedule as a phrase, such as `every day at 03:00 (UTC)`."""

    def note(self, moment: datetime) -> str:  # noqa: ARG002 -- an interval has nothing to tell
        """Return why a due moment differs from what the schedule says, or empty text."""
        return ""


@dataclass(frozen=True, slots=True)
class Interval(Schedule):
    """A schedule with the same time between any two due moments."""

    every: timedelta
    zone: tzinfo = UTC

    @override
    def next_after(self, moment: datetime) -> datetime:
        return self._sum(moment, 1)

    @override
    def coalesced(self, due: datetime, now: datetime) -> tuple[int, datetime]:
        missed = max(0, (now - due) // self.every)
        return missed, self._sum(due, missed + 1)

    @override
    def in_words(self) -> str:
        number, unit = in_units(self.every)
        return f"every {unit.removesuffix('s')}" if number == 1 else f"every {number:,} {unit}"

    def _sum(self, moment: datetime, times: int) -> datetime:
        try:
            return min(moment + times * self.every, _LAST)
        except OverflowError:
            return _LAST


@dataclass(frozen=True, slots=True)
class Calendar(Schedule):
    """A schedule at a time of day in a time zone. In a month without the `month_day`, the last day stands for it."""

    repeat: Repeat
    at: time
    zone: ZoneInfo
    weekday: int = 0
    """The day of a weekly schedule; 0 is Monday."""
    month_day: int = 1

    @override
    def next_after(self, moment: datetime) -> datetime:
        return self._moment(self._last(moment) + 1)

    @override
    def coalesced(self, due: datetime, now: datetime) -> tuple[int, datetime]:
        before, last = self._last(due), self._last(max(due, now))
        return last - before, self._moment(last + 1)

    @override
    def in_words(self) -> str:
        last = ", or on its last day," if self.month_day > _DAYS_OF_ANY_MONTH else ""
        day = {
            Repeat.DAY: "day",
            Repeat.WEEK: DAYS[self.weekday],
            Repeat.MONTH: f"month on day {self.month_day}{last}",
        }[self.repeat]
        return f"every {day} at {self.at:%H:%M} ({self.zone.key})"

    @override
    def note(self, moment: datetime) -> str:
        number = self._last(moment)
        day = self._day(number)
        if self._moment(number) != moment:
            return ""
        said = datetime.combine(day, self.at)
        if moment.astimezone(self.zone).replace(tzinfo=None) != said:
            return f"instead of {said:%H:%M}, which a change of clocks skips on that day"
        if said.replace(tzinfo=self.zone).utcoffset() != said.replace(tzinfo=self.zone, fold=1).utcoffset():
            return "the first of two, because a change of clocks repeats this time"
        if self.repeat is Repeat.MONTH and day.day != self.month_day:
            return f"the last day of a month without day {self.month_day}"
        return ""

    def _last(self, moment: datetime) -> int:
        """Return the number of the last due moment up to a moment."""
        moment = min(max(moment, _FIRST), _LAST)
        number = self._number(moment.astimezone(self.zone).date()) + 1
        while self._moment(number) > moment:
            number -= 1
        return number

    def _moment(self, number: int) -> datetime:
        try:
            return min(datetime.combine(self._day(number), self.at, self.zone).astimezone(UTC), _LAST)
        except (OverflowError, ValueError):
            return _LAST

    def _number(self, day: date) -> int:
        """Return the number of the day, the week or the month of a date; consecutive ones have consecutive numbers."""
        if self.repeat is Repeat.MONTH:
            return day.year * _MONTHS_OF_A_YEAR + day.month - 1
        return day.toordinal() if self.repeat is Repeat.DAY else (day.toordinal() - 1) // _DAYS_OF_A_WEEK

    def _day(self, number: int) -> date:
        """Return the due day of the day, the week or the month with a number."""
        if self.repeat is Repeat.MONTH:
            year, month = divmod(number, _MONTHS_OF_A_YEAR)
            return date(year, month + 1, min(self.month_day, monthrange(year, month + 1)[1]))
        if self.repeat is Repeat.DAY:
            return date.fromordinal(number)
        return date.fromordinal(number * _DAYS_OF_A_WEEK + self.weekday + 1)


def in_units(every: timedelta) -> tuple[int, str]:
    """Return an interval of whole seconds as a number of the longest unit that divides it."""
    seconds = int(every.total_seconds())
    unit = next(name for name, length in UNITS.items() if seconds % length == 0)
    return seconds // UNITS[unit], unit


def zone_named(name: str) -> ZoneInfo:
    """Return the time zone with an IANA name. Raises InvalidPolicy for a name that this machine does not have."""
    if name not in _zones():
        raise InvalidPolicy(
            f"this machine has no time zone {name!r}; give a name such as Europe/Berlin or UTC, or install the "
            "package tzdata"
        )
    return ZoneInfo(name)


def offered_zones() -> list[str]:
    """Return the names of time zones to choose from: UTC, and those of places."""
    return ["UTC", *sorted(name for name in _zones() if "/" in name and not name.startswith(_UNOFFERED))]


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - _OF_ONE_MACHINE)
