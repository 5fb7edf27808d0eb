"""Timestamps: parses ISO 8601, and prints UTC with a Z."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone

_DATE = r"(?P<year>\d{4}|[+-]\d{6})(?:(?P<dash>-?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)|-?(?P<ordinal>\d{3}))"
_WEEK = r"(?P<wyear>\d{4})-?W(?P<week>\d\d)-?(?P<weekday>[1-7])"
_TIME = r"(?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?)?"
_ZONE = r"(?P<zone>[Zz]|(?P<sign>[+-])(?P<zhour>\d\d):?(?P<zminute>\d\d)?)"
_ISO_8601 = re.compile(rf"(?:{_DATE}|{_WEEK})(?:[Tt ]{_TIME}{_ZONE}?)?", re.ASCII)
NO_ZONE = "names no time zone; read as UTC"
_MICROSECOND_DIGITS = 6
_WHOLE_SECONDS = len("2024-01-01T00:00:00+00:00")


def parse(text: str) -> tuple[datetime, list[str]]:
    """Parse an ISO 8601 time; return it in UTC, with remarks about a missing time zone and digits that were cut.

    All ISO 8601 forms are accepted, including RFC 3339 and JavaScript's `toISOString`, for years 1 to 9999.
    Raises ValueError for everything else, including leap seconds and 24:00.
    """
    match = _ISO_8601.fullmatch(text)
    if match is None:
        raise ValueError("is no ISO 8601 time such as 2024-01-01T00:00:00.000Z")
    try:
        moment = datetime.combine(_date(match), datetime.min.time()) + _time(match)
        moment = (moment - _offset(match)).replace(tzinfo=UTC)
    except (ValueError, OverflowError) as problem:
        raise ValueError(f"is no time between the years 1 and 9999: {problem}") from problem
    return moment, _remarks(match)


def spell(moment: datetime) -> str:
    """Return an aware datetime in the format of the files: UTC with Z, and three to six digits of a second."""
    return shortened((moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat())


def as_name(moment: datetime) -> str:
    """Return an aware datetime in the format of file names, to the second: `20260102T030405Z`."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def shortened(text: str) -> str:
    """Convert a UTC time from `isoformat()`, with `+00:00` and six digits or none, to the format of the files."""
    if len(text) == _WHOLE_SECONDS:
        return f"{text[:19]}.000Z"
    return f"{text[:23]}{text[23:26].rstrip('0')}Z"


def _date(match: re.Match[str]) -> date:
    if match["week"]:
        return date.fromisocalendar(int(match["wyear"]), int(match["week"]), int(match["weekday"]))
    if match["ordinal"]:
        first = date(int(match["year"]), 1, 1)
        day = first + timedelta(days=int(match["ordinal"]) - 1)
        if day.year != first.year:
            raise ValueError("the year has no such day")
        return day
    return date(int(match["year"]), int(match["month"]), int(match["day"]))


def _time(match: re.Match[str]) -> timedelta:
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    if hour > 23 or minute > 59 or second > 59:  # noqa: PLR2004 -- the limits of hours, minutes and seconds
        raise ValueError("the day has no such time")
    micros = (match["fraction"] or "")[:_MICROSECOND_DIGITS].ljust(_MICROSECOND_DIGITS, "0")
    return timedelta(hours=hour, minutes=minute, seconds=second, microseconds=int(micros))


def _offset(match: re.Match[str]) -> timedelta:
    if not match["sign"]:
        return timedelta()
    minutes = int(match["zminute"] or 0)
    if minutes > 59:  # noqa: PLR2004 -- the limit of minutes
        raise ValueError("no time zone is that far off")
    size = timedelta(hours=int(match["zhour"]), minutes=minutes)
    timezone(size)  # raises ValueError for a day or more
    return size if match["sign"] == "+" else -size


def _remarks(match: re.Match[str]) -> list[str]:
    remarks = []
    if not match["zone"]:
        remarks.append(NO_ZONE)
    if len((match["fraction"] or "")[_MICROSECOND_DIGITS:].rstrip("0")):
        remarks.append("is finer than a microsecond; the digits beyond were cut")
    return remarks
