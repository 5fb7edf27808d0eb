"""The clock: nothing is removed while it cannot be trusted, and it is trusted again without a person, later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orbsite.operations.scheduling.clock_guard import LEAP, SKEW, look, note_day

pytestmark = pytest.mark.django_db

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


def test_a_clock_that_goes_on_is_trusted() -> None:
    for step in (0 * DAY, SECOND, HOUR, HOUR + LEAP, HOUR + LEAP - SKEW):
        assert look(BEGIN + step).is_trusted


@pytest.mark.parametrize("jump", [-3 * 365 * DAY, -DAY, -SKEW - SECOND, LEAP + SECOND, 30 * DAY, 100 * 365 * DAY])
def test_a_clock_that_jumps_is_not(jump: timedelta) -> None:
    look(BEGIN)
    status = look(BEGIN + jump)
    assert not status.is_trusted
    assert "--trust-clock" in status.message
    assert ("jumped back" in status.message) == (jump < timedelta(0))


def test_a_clock_that_jumps_every_time_is_never_trusted() -> None:
    look(BEGIN)
    moment = BEGIN
    for number in range(20):
        moment += 30 * DAY if number % 3 else -75 * DAY
        assert not look(moment).is_trusted


def test_a_clock_that_was_put_right_is_trusted_at_once() -> None:
    look(BEGIN)
    assert not look(BEGIN + 300 * DAY).is_trusted
    assert look(BEGIN + HOUR).is_trusted
    assert not look(BEGIN + 300 * DAY + 2 * DAY).is_trusted  # the first jump is forgotten: a day has to pass anew


@pytest.mark.parametrize("jump", [-300 * DAY, 300 * DAY])
def test_a_clock_that_goes_on_steadily_after_a_jump_is_trusted_after_a_day(jump: timedelta) -> None:
    look(BEGIN)
    seen = [look(BEGIN + jump + number * 8 * HOUR).is_trusted for number in range(5)]
    assert seen == [False, False, False, True, True]


def test_a_person_can_vouch_for_a_clock() -> None:
    look(BEGIN)
    assert not look(BEGIN - 300 * DAY).is_trusted
    assert look(BEGIN - 300 * DAY, trust=True).is_trusted
    assert look(BEGIN - 300 * DAY + HOUR).is_trusted


def test_a_day_is_new_until_it_is_noted() -> None:
    assert look(BEGIN).day_is_new
    assert look(BEGIN + SECOND).day_is_new
    note_day(BEGIN)
    assert not look(BEGIN + HOUR).day_is_new
    assert look(BEGIN + DAY).day_is_new
