"""A chart as shapes of an inline SVG: the server draws it, and its colours are those of the theme."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orbsite.admin.dashboard.charts import Chart, spelled

WIDTH, HEIGHT = 720, 240
"""The size of a plot in its own units; the page scales it."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 12, 12, 34
_STEPS = (1, 2, 5, 10)
_MOST_TICKS = 4
_MOST_LABELS = 6
_CHARACTER = 9.0
"""The width of a character of a label, with some room."""
_BAR = 0.8
"""The part of the width of a label that its bar takes."""
_WIDEST_BAR = 48.0
_COLOURS = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a stacked bar."""

    x: float
    y: float
    width: float
    height: float
    style: str
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A part of a line without gaps; one value alone is a dot."""

    points: str
    style: str
    dot: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """A label of an axis, at its place along the axis."""

    at: float
    text: str
    anchor: str = "middle"
    is_minor: bool = False
    """Whether a narrow screen leaves it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The shapes of one chart."""

    chart: Chart
    rows: list[Tick]
    """The ticks of the value axis."""
    columns: list[Tick]
    """The ticks of the label axis."""
    bars: list[Bar]
    lines: list[Line]
    legend: list[tuple[str, str]]
    """The name and the style of each series."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM


def plotted(chart: Chart) -> Plot:
    """Return the shapes of a chart of lines or of stacked bars. Raises ValueError for an empty one."""
    if chart.is_empty:
        raise ValueError(f"the chart {chart.name} has no values to draw")
    top = _highest(chart)
    step = _step(top, in_twos=chart.unit == "bytes")
    ticks = [step * number for number in range(math.ceil(top / step) + 1)]
    scale = _Scale(len(chart.labels), ticks[-1], is_of_bars=chart.kind != "line")
    styles = list(_styles(chart))
    return Plot(
        chart=chart,
        rows=[Tick(scale.y(value), spelled(value, chart.unit), "end") for value in ticks],
        columns=list(_columns(chart.labels, scale)),
        bars=list(_bars(chart, scale, styles)) if scale.is_of_bars else [],
        lines=[] if scale.is_of_bars else list(_lines(chart, scale, styles)),
        legend=[(series.name, style) for series, style in zip(chart.series, styles, strict=True)],
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where labels and values are in a plot."""

    labels: int
    top: float
    is_of_bars: bool

    @property
    def step(self) -> float:
        """The distance between two labels."""
        width = WIDTH - _LEFT - _RIGHT
        return width / self.labels if self.is_of_bars else width / max(1, self.labels - 1)

    def x(self, at: int) -> float:
        """Return the place of a label."""
        return round(_LEFT + (at + (0.5 if self.is_of_bars else 0)) * self.step, 1)

    def y(self, value: float) -> float:
        """Return the place of a value."""
        return round(HEIGHT - _BOTTOM - value / self.top * (HEIGHT - _BOTTOM - _TOP), 1)


def _highest(chart: Chart) -> float:
    rows = zip(*(series.values for series in chart.series), strict=True)
    join = max if chart.kind == "line" else sum
    return max(join([value or 0 for value in row]) for row in rows)


def _step(top: float, *, in_twos: bool) -> float:
    """Return the distance between ticks: a power of two, or 1, 2 or 5 times a power of ten."""
    least = max(top / _MOST_TICKS, 1)
    if in_twos:
        return float(2 ** math.ceil(math.log2(least)))
    power = 10 ** math.floor(math.log10(least))
    return float(next(power * one for one in _STEPS if power * one >= least))


def _styles(chart: Chart) -> Iterator[str]:
    number = 0
    for series in chart.series:
        if series.is_warning:
            yield "orb-plot-warning"
        elif series.is_rest:
            yield "orb-plot-rest"
        else:
            number += 1
            yield f"orb-plot-{(number - 1) % _COLOURS + 1}"


def _columns(labels: Sequence[str], scale: _Scale) -> Iterator[Tick]:
    """Yield as many labels as there is room for; one that would leave the plot is moved inside."""
    width = _CHARACTER * max(map(len, labels))
    most = max(2, min(_MOST_LABELS, int((WIDTH - _LEFT) / (1.2 * width))))
    every = max(1, math.ceil((len(labels) - 1) / (most - 1)))
    for order, at in enumerate(range(0, len(labels), every)):
        x = scale.x(at)
        anchor = "end" if x + width / 2 > WIDTH else "start" if x == _LEFT else "middle"
        yield Tick(x, labels[at], anchor, is_minor=order % 3 != 0)


def _bars(chart: Chart, scale: _Scale, styles: Sequence[str]) -> Iterator[Bar]:
    width = min(_WIDEST_BAR, _BAR * scale.step)
    for at, label in enumerate(chart.labels):
        below = 0.0
        for series, style in zip(chart.series, styles, strict=True):
            value = series.values[at] or 0
            if value:
                y, bottom = scale.y(below + value), scale.y(below)
                title = f"{label}: {spelled(value, chart.unit)} {series.name}"
                yield Bar(round(scale.x(at) - width / 2, 1), y, round(width, 1), round(bottom - y, 1), style, title)
                below += value


def _lines(chart: Chart, scale: _Scale, styles: Sequence[str]) -> Iterator[Line]:
    for series, style in zip(chart.series, styles, strict=True):
        known = [at for at, value in enumerate(series.values) if value is not None]
        parts = [0, *(number for number, (one, two) in enumerate(pairwise(known), 1) if two - one > 1), len(known)]
        for begin, end in pairwise(parts):
            places = [(scale.x(at), scale.y(series.values[at] or 0)) for at in known[begin:end]]
            if places:
                points = " ".join(f"{x},{y}" for x, y in places)
                yield Line(points, style, places[0] if len(places) == 1 else None)
