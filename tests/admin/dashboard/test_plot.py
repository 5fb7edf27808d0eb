"""Plots are shapes within their frame, at the places of their values."""

from __future__ import annotations

import pytest

from orbsite.admin.dashboard.charts import Chart, Series
from orbsite.admin.dashboard.plot import HEIGHT, WIDTH, plotted


def chart(*series: Series, labels: int = 4, kind: str = "bar", unit: str = "records") -> Chart:
    return Chart(
        name="one",
        title="One",
        summary="One.",
        labels=[f"day {number}" for number in range(labels)],
        series=list(series),
        axis="day",
        unit=unit,
        kind=kind,
        is_stacked=True,
    )


def test_bars_are_stacked_within_the_frame() -> None:
    plot = plotted(chart(Series("a", [1, 0, 2, 3]), Series("b", [1, 1, 0, 4], is_warning=True)))
    assert [bar.title for bar in plot.bars] == [
        "day 0: 1 a", "day 0: 1 b", "day 1: 1 b", "day 2: 2 a", "day 3: 3 a", "day 3: 4 b",
    ]  # fmt: skip
    for bar in plot.bars:
        assert plot.left <= bar.x
        assert bar.x + bar.width <= WIDTH
        assert 0 <= bar.y <= bar.y + bar.height <= HEIGHT
    below, above = plot.bars[-2:]
    assert above.y + above.height == pytest.approx(below.y, abs=0.2)
    assert above.height / below.height == pytest.approx(4 / 3, rel=0.01)
    assert [tick.text for tick in plot.rows] == ["0", "2", "4", "6", "8"]
    assert plot.legend == [("a", "orb-plot-1"), ("b", "orb-plot-warning")]


def test_a_line_has_gaps_where_values_are_missing() -> None:
    plot = plotted(chart(Series("a", [1, 2, None, 4]), kind="line"))
    assert [len(line.points.split()) for line in plot.lines] == [2, 1]
    assert [line.dot is None for line in plot.lines] == [True, False]
    assert plot.bars == []
    first, last = plot.columns[0], plot.columns[-1]
    assert (first.anchor, last.anchor) == ("start", "end")
    assert (first.at, last.at) == (plot.left, plot.right)


@pytest.mark.parametrize(("top", "expected"), [(1, ["0", "1"]), (35, ["0", "10", "20", "30", "40"])])
def test_ticks_are_round_numbers(top: int, expected: list[str]) -> None:
    assert [tick.text for tick in plotted(chart(Series("a", [top]), labels=1)).rows] == expected


def test_many_labels_are_thinned_out() -> None:
    columns = plotted(chart(Series("a", [1] * 90), labels=90)).columns
    assert len(columns) <= 6
    assert [tick.is_minor for tick in columns[:4]] == [False, True, True, False]


def test_an_empty_chart_is_no_plot() -> None:
    with pytest.raises(ValueError, match="the chart one has no values to draw"):
        plotted(chart(Series("a", [0, None, 0, 0])))
