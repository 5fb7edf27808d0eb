"""When the disk will be full, if the stores go on growing as they did: a line through the daily sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

FEWEST_DAYS = 7
"""The number of days with a size that a forecast needs."""
_LONGEST = 3650
"""The number of days after which a forecast says no more than that it takes years."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected growth of what is on one disk."""

    per_day: float
    """The growth in bytes a day; negative where the sizes shrink."""
    days_left: int | None
    """The number of days until the disk is full; None where it does not grow, or not within ten years."""


def forecast(sizes: Mapping[date, int], free: int | None) -> Forecast | None:
    """Return the forecast from sizes in bytes by day; None from fewer than seven days, or without the free space.

    The growth is the slope of the least squares line.
    """
    if len(sizes) < FEWEST_DAYS or free is None:
        return None
    per_day = _slope([(day.toordinal(), size) for day, size in sizes.items()])
    left = int(free / per_day) if per_day > 0 else None
    return Forecast(per_day, left if left is not None and left <= _LONGEST else None)


def _slope(points: Sequence[tuple[int, int]]) -> float:
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
