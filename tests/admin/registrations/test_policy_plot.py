"""The plot of a policy: each record is in one bar, however old or new it is."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from orbsite.admin.registrations.policy_plot import HEIGHT, MOST_BARS, WIDTH, PolicyPlot, policy_plot
from orbsite.operations.retention.effect import Effect
from tests.support.effort import effort

TODAY = date(2026, 3, 1)


def plot(kept: dict[int, int], removed: dict[int, int]) -> PolicyPlot:
    """Return the plot of numbers by age in days."""
    days = Counter({TODAY - timedelta(days=age): number for age, number in removed.items()})
    totals = days + Counter({TODAY - timedelta(days=age): number for age, number in kept.items()})
    found = policy_plot(Effect(sum(totals.values()), sum(days.values()), totals, days), TODAY)
    assert found is not None
    return found


def test_no_records_have_no_plot() -> None:
    assert policy_plot(Effect(), TODAY) is None


def test_bars_of_days_end_with_today() -> None:
    found = plot({0: 3, 1: 1}, {2: 2})
    assert [(bar.label, bar.kept, bar.removed) for bar in found.bars] == [
        ("2026-02-27", 0, 2),
        ("2026-02-28", 1, 0),
        ("2026-03-01", 3, 0),
    ]
    assert (found.span, found.most) == ("day", 3)
    assert [(bar.kept_y, bar.kept_height) for bar in found.bars[-1:]] == [(0, HEIGHT)]


@pytest.mark.parametrize(
    ("oldest", "span", "number"),
    [(39, "day", 40), (40, "week", 6), (300, "4 weeks", 11), (1200, "13 weeks", 14), (5000, "52 weeks", 14)],
)
def test_longer_times_have_longer_bars(oldest: int, span: str, number: int) -> None:
    found = plot({0: 1}, {oldest: 1})
    assert (found.span, len(found.bars)) == (span, number)
    assert (found.bars[0].removed, found.bars[-1].kept) == (1, 1)


def test_the_first_bar_stands_for_all_older_records_and_the_last_for_the_future() -> None:
    found = plot({-9000: 1, 0: 1}, {500_000: 4, 400_000: 1})
    assert (len(found.bars), found.bars[0].removed, found.bars[-1].kept) == (MOST_BARS, 5, 2)
    assert found.bars[0].label.startswith("up to ")
    assert [bar.label for bar in found.rows] == [found.bars[0].label, found.bars[-1].label]


ages = some.dictionaries(some.integers(-1000, 20_000), some.integers(1, 10**6), max_size=30)


@pytest.mark.deep
@settings(max_examples=effort(60, 2000), deadline=None)
@given(ages, ages.filter(bool))
def test_no_record_is_lost_and_bars_stay_in_the_drawing(kept: dict[int, int], removed: dict[int, int]) -> None:
    found = plot(kept, removed)
    assert sum(bar.kept for bar in found.bars) == sum(kept.values())
    assert sum(bar.removed for bar in found.bars) == sum(removed.values())
    assert all(bar.removed_y >= -0.02 and bar.x >= 0 and bar.x + bar.width <= WIDTH for bar in found.bars)
