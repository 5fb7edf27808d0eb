"""Schedules: every due moment is on its day at its time of day, whatever the clocks of its zone do."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from orbsite.storage.errors import InvalidPolicy
from orbsite.storage.retention.schedule import (
    DAYS,
    Calendar,
    Interval,
    Repeat,
    Schedule,
    in_units,
    offered_zones,
    zone_named,
)
from tests.support.effort import effort

BERLIN, NEW_YORK, APIA = (ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Pacific/Apia"))
ZONES = [*map(ZoneInfo, offered_zones())]
BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

calendars = some.builds(
    Calendar,
    repeat=some.sampled_from([Repeat.DAY, Repeat.WEEK, Repeat.MONTH]),
    at=some.times().map(lambda one: one.replace(microsecond=0)),
    zone=some.sampled_from(ZONES),
    weekday=some.integers(0, 6),
    month_day=some.integers(1, 31),
)
moments = some.datetimes(datetime(1950, 1, 1), datetime(2080, 1, 1), timezones=some.just(UTC))


def daily(zone: ZoneInfo, hour: int, minute: int = 0) -> Calendar:
    return Calendar(Repeat.DAY, time(hour, minute), zone)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.deep
@settings(max_examples=effort(150, 5000), deadline=None)
@given(calendars, moments)
def test_a_due_moment_is_on_its_day_at_its_time(schedule: Calendar, moment: datetime) -> None:
    due = schedule.next_after(moment)
    assert due > moment
    assert due.tzinfo is UTC
    local = due.astimezone(schedule.zone)
    before = (due - 2 * DAY).astimezone(schedule.zone).utcoffset()
    after = (due + 2 * DAY).astimezone(schedule.zone).utcoffset()
    if before == after:  # no change of clocks is near
        assert local.time() == schedule.at
        if schedule.repeat is Repeat.WEEK:
            assert local.weekday() == schedule.weekday
        if schedule.repeat is Repeat.MONTH:
            assert local.day == min(schedule.month_day, monthrange(local.year, local.month)[1])
    if local.time() != schedule.at:
        assert "instead of" in schedule.note(due)


@pytest.mark.deep
@settings(max_examples=effort(100, 3000), deadline=None)
@given(calendars, moments)
def test_no_day_is_left_out_and_none_comes_twice(schedule: Calendar, moment: datetime) -> None:
    longest = {Repeat.DAY: 1, Repeat.WEEK: 7, Repeat.MONTH: 31}[schedule.repeat]
    first = schedule.next_after(moment)
    second = schedule.next_after(first)
    assert first < second <= first + (longest + 1) * DAY + HOUR
    assert schedule.next_after(second - timedelta(microseconds=1)) == second
    assert first <= moment + (longest + 1) * DAY + HOUR


@pytest.mark.deep
@settings(max_examples=effort(100, 3000), deadline=None)
@given(some.one_of(calendars, some.builds(Interval, some.timedeltas(HOUR, 40 * DAY))), moments, some.integers(0, 40))
def test_what_was_missed_is_counted_and_the_next_moment_is_still_to_come(
    schedule: Schedule, moment: datetime, number: int
) -> None:
    due = [schedule.next_after(moment)]
    for _ in range(number + 1):
        due.append(schedule.next_after(due[-1]))
    for now in (due[number], due[number + 1] - timedelta(microseconds=1)):
        missed, following = schedule.coalesced(due[0], now)
        assert following == due[number + 1]
        if not (isinstance(schedule, Calendar) and schedule.zone.key in ("Pacific/Apia", "Pacific/Fakaofo")):
            assert missed == number


@pytest.mark.parametrize(
    ("behind", "missed", "following"),
    [(0, 0, 1), (0.5, 0, 1), (1, 1, 2), (2.5, 2, 3), (1e6, 1_000_000, 1_000_001), (-1, 0, 1)],
)
def test_an_interval_keeps_to_its_grid(behind: float, missed: int, following: int) -> None:
    assert Interval(HOUR).coalesced(BEGIN, BEGIN + behind * HOUR) == (missed, BEGIN + following * HOUR)


def test_a_moment_that_was_set_by_hand_counts_the_moments_after_it() -> None:
    schedule = daily(BERLIN, 4)
    assert schedule.coalesced(utc(2026, 1, 1), utc(2026, 1, 1)) == (0, utc(2026, 1, 1, 3))
    assert schedule.coalesced(utc(2026, 1, 1), utc(2026, 1, 3, 3)) == (3, utc(2026, 1, 4, 3))
    assert schedule.coalesced(utc(2026, 1, 9), utc(2026, 1, 1)) == (0, utc(2026, 1, 9, 3))
    assert schedule.note(utc(2026, 1, 9)) == ""


@pytest.mark.parametrize(
    ("schedule", "before", "due", "told"),
    [
        (daily(BERLIN, 2, 30), utc(2026, 3, 28, 12), utc(2026, 3, 29, 1, 30), "instead of 02:30"),
        (daily(BERLIN, 2, 30), utc(2026, 3, 29, 12), utc(2026, 3, 30, 0, 30), ""),
        (daily(BERLIN, 2, 30), utc(2026, 10, 24, 12), utc(2026, 10, 25, 0, 30), "the first of two"),
        (daily(BERLIN, 2, 30), utc(2026, 10, 25, 0, 30), utc(2026, 10, 26, 1, 30), ""),
        (daily(NEW_YORK, 1, 30), utc(2026, 10, 31, 12), utc(2026, 11, 1, 5, 30), "the first of two"),
        (daily(APIA, 3), utc(2011, 12, 29, 20), utc(2011, 12, 30, 13), ""),  # a zone without 30 December 2011
        (daily(APIA, 3), utc(2011, 12, 30, 13), utc(2011, 12, 31, 13), ""),
        (daily(ZoneInfo("Asia/Kathmandu"), 0, 0), utc(2026, 1, 1), utc(2026, 1, 1, 18, 15), ""),
    ],
)
def test_changes_of_clocks_skip_and_repeat_no_run(
    schedule: Calendar, before: datetime, due: datetime, told: str
) -> None:
    assert schedule.next_after(before) == due
    assert schedule.note(due).startswith(told)
    assert bool(schedule.note(due)) == bool(told)


def test_the_last_day_stands_for_a_day_that_a_month_lacks() -> None:
    schedule, due = Calendar(Repeat.MONTH, time(6), ZoneInfo("UTC"), month_day=31), utc(2027, 12, 31, 6)
    found = [due := schedule.next_after(due) for _ in range(5)]
    assert [(one.month, one.day) for one in found] == [(1, 31), (2, 29), (3, 31), (4, 30), (5, 31)]
    assert [schedule.note(one) for one in found[:2]] == ["", "the last day of a month without day 31"]


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        (Interval(DAY), "every day"),
        (Interval(36 * HOUR), "every 36 hours"),
        (Interval(timedelta(seconds=90)), "every 90 seconds"),
        (daily(BERLIN, 3), "every day at 03:00 (Europe/Berlin)"),
        (Calendar(Repeat.WEEK, time(9), BERLIN, weekday=6), "every Sunday at 09:00 (Europe/Berlin)"),
        (Calendar(Repeat.MONTH, time(9), BERLIN, month_day=5), "every month on day 5 at 09:00 (Europe/Berlin)"),
        (
            Calendar(Repeat.MONTH, time(9), BERLIN, month_day=31),
            "every month on day 31, or on its last day, at 09:00 (Europe/Berlin)",
        ),
    ],
)
def test_a_schedule_is_told_in_words(schedule: Schedule, told: str) -> None:
    assert schedule.in_words() == told


@pytest.mark.parametrize("schedule", [Interval(10**6 * 7 * DAY), *(daily(zone, 3) for zone in (BERLIN, APIA))])
@pytest.mark.parametrize("moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_time_are_no_error(schedule: Schedule, moment: datetime) -> None:
    assert schedule.next_after(moment).tzinfo is UTC
    assert schedule.coalesced(moment, utc(2026, 1, 1))[1].tzinfo is UTC
    assert isinstance(schedule.note(moment), str)


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "Europe", "a\x00b", "é", "localtime"]
)
def test_a_name_that_no_zone_has_is_refused(name: str) -> None:
    with pytest.raises(InvalidPolicy, match="no time zone"):
        zone_named(name)


def test_zones_of_places_are_offered() -> None:
    offered = offered_zones()
    assert offered[0] == "UTC"
    assert {"Europe/Berlin", "America/New_York", "Asia/Tokyo"} < {*offered}
    assert not {"Etc/GMT+1", "localtime", "EST"} & {*offered}
    assert all(zone_named(name) for name in offered)
    assert zone_named("EST")  # not offered, and accepted


def test_an_interval_is_told_in_the_longest_unit_that_divides_it() -> None:
    assert [in_units(timedelta(seconds=one)) for one in (60, 90, 86_400, 1_209_600)] == [
        (1, "minutes"),
        (90, "seconds"),
        (1, "days"),
        (2, "weeks"),
    ]
    assert len(DAYS) == 7
