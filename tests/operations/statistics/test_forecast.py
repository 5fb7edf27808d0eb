"""When the disk will be full: by the growth of the last days, and only where there are enough of them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from orbsite.operations.statistics.forecast import Forecast, forecast

FIRST = date(2026, 3, 1)


def sizes(*values: int) -> dict[date, int]:
    return {FIRST + timedelta(days=at): value for at, value in enumerate(values)}


@pytest.mark.parametrize(
    ("values", "free", "expected"),
    [
        (range(0, 1000, 100), 4000, Forecast(100, 40)),
        (range(0, 600, 100), 4000, None),
        (range(0, 1000, 100), None, None),
        (range(0, 1000, 100), 50, Forecast(100, 0)),
        (range(0, 1000, 100), 10**9, Forecast(100, None)),
        ((5,) * 8, 4000, Forecast(0, None)),
        (range(1000, 0, -100), 4000, Forecast(-100, None)),
    ],
)
def test_a_forecast_follows_the_slope(values: range, free: int | None, expected: Forecast | None) -> None:
    assert forecast(sizes(*values), free) == expected


def test_days_without_a_value_do_not_bend_the_line() -> None:
    known = sizes(*range(0, 2000, 100))
    found = forecast({day: size for day, size in known.items() if day.day not in (3, 4, 9)}, 4000)
    assert found is not None
    assert round(found.per_day) == 100
