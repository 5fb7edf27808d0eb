"""The plot of a policy's effect: a bar for each day or longer span, with the records that it keeps and removes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from orbsite.operations.retention.effect import Effect

MOST_BARS = 40
_SPANS = {1: "day", 7: "week", 28: "4 weeks", 91: "13 weeks", 364: "52 weeks"}
"""The numbers of days that a bar may stand for."""
WIDTH, HEIGHT, _GAP = 800, 120, 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar, with its place in the drawing."""

    label: str
    kept: int
    removed: int
    x: float
    width: float
    kept_height: float
    removed_height: float

    @property
    def kept_y(self) -> float:
        """The upper edge of the part for kept records, which stands on the base line."""
        return round(HEIGHT - self.kept_height, 2)

    @property
    def removed_y(self) -> float:
        """The upper edge of the part for removed records, which stands on that for kept ones."""
        return round(HEIGHT - self.kept_height - self.removed_height, 2)


@dataclass(frozen=True, slots=True)
class PolicyPlot:
    """The bars of a plot, the oldest first."""

    bars: list[Bar]
    span: str
    """The time that a bar stands for, such as `week`."""
    most: int
    """The number of records of the highest bar."""

    width: int = WIDTH
    height: int = HEIGHT

    @property
    def title(self) -> str:
        """The title of the plot, with the time that a bar stands for."""
        return f"Records by age, one bar per {self.span}: kept and removed"

    @property
    def rows(self) -> Iterator[Bar]:
        """The bars that have records."""
        return (bar for bar in self.bars if bar.kept or bar.removed)


def policy_plot(effect: Effect, today: date) -> PolicyPlot | None:
    """Return the plot of an effect, or None if there are no records.

    Bars end with the present day; records from later days count for it. The first bar also stands for older records.
    """
    if not effect.days:
        return None
    oldest = max(0, (today - min(effect.days)).days)
    days = next((span for span in _SPANS if oldest < span * MOST_BARS), max(_SPANS))
    number = min(MOST_BARS, oldest // days + 1)
    totals, removed = [0] * number, [0] * number
    for counts, found in ((totals, effect.days), (removed, effect.removed_days)):
        for day, records in found.items():
            counts[_place(day, today, days, number)] += records
    most, step = max(totals), WIDTH / number
    bars = [
        Bar(
            label=_label(today, days, number - 1 - at, is_open=at == 0 and oldest >= days * number),
            kept=totals[at] - removed[at],
            removed=removed[at],
            x=round(step * (at + _GAP / 2), 2),
            width=round(step * (1 - _GAP), 2),
            kept_height=round(HEIGHT * (totals[at] - removed[at]) / most, 2),
            removed_height=round(HEIGHT * removed[at] / most, 2),
        )
        for at in range(number)
    ]
    return PolicyPlot(bars, _SPANS[days], most)


def _place(day: date, today: date, days: int, number: int) -> int:
    """Return the place of a day's bar, counted from the oldest."""
    ago = max(0, (today - day).days) // days
    return number - 1 - min(ago, number - 1)


def _label(today: date, days: int, ago: int, *, is_open: bool) -> str:
    last = today - timedelta(days=days * ago)
    first = last - timedelta(days=days - 1)
    if is_open:
        return f"up to {last}"
    return f"{last}" if days == 1 else f"{first} to {last}"
