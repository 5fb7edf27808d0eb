"""The charts of the dashboard as data: a script draws each chart, and a table below it shows the same values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.template.defaultfilters import filesizeformat

from orbsite.models.jobs import JobState
from orbsite.operations.monitoring.snapshot import DashboardSnapshot
from orbsite.operations.statistics.figures import NAMES, SQL, Figures
from orbsite.operations.statistics.overview import DAYS, limit_of
from orbsite.storage.records.record import Record, is_ordered_by_time

MOST_BARS = 30
_NO_TAG, _OTHERS = "no tag", "other tags"
_STATES = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Series:
    """A series of values, drawn as a line or as one layer of bars."""

    name: str
    values: Sequence[int | float | None]
    is_warning: bool = False
    """Whether the series shows failures, or records that will be removed."""
    is_rest: bool = False
    """Whether the series sums up all values without a series of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The data of one chart."""

    name: str
    title: str
    summary: str
    """One or two sentences that describe the data."""
    labels: Sequence[str]
    series: list[Series]
    axis: str
    """The title of the label axis."""
    unit: str = ""
    """The unit of the values: `bytes`, `seconds`, or a plural such as `records`."""
    kind: str = "bar"
    """The chart type: `bar` or `line`."""
    is_stacked: bool = False
    is_flat: bool = False
    """Whether the bars are horizontal, which leaves room for long labels."""
    is_wide: bool = False
    as_of: datetime | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether all values are zero or missing."""
        return not any(value for series in self.series for value in series.values)

    @property
    def rows(self) -> Iterator[tuple[str, list[str]]]:
        """The data as table rows: a label, and the value of each series."""
        for index, label in enumerate(self.labels):
            yield label, [spelled(series.values[index], self.unit) for series in self.series]

    def as_json(self) -> dict[str, Any]:
        """Return the fields that the script needs to draw the chart."""
        names = ("name", "title", "labels", "unit", "axis", "kind", "is_stacked", "is_flat")
        return {name: getattr(self, name) for name in names} | {"series": [asdict(series) for series in self.series]}


def charts(snapshot: DashboardSnapshot) -> list[Chart]:
    """Return the charts of a snapshot that have data."""
    used = [figures for figures in snapshot.figures if figures.store == snapshot.in_use and figures.details]
    drawn = [*_per_day(used), *_growth(snapshot), *_ages(snapshot, used), *_tallies(used), *_durations(snapshot)]
    return [chart for chart in drawn if not chart.is_empty]


def spelled(value: float | None, unit: str) -> str:
    """Return a value as text in its unit, or a dash for None."""
    if value is None:
        return "-"
    if unit == "bytes":
        return str(filesizeformat(value))
    if unit == "seconds":
        return f"{value:,.1f} s"
    return f"{value:,.0f}"


def _per_day(used: Sequence[Figures]) -> Iterator[Chart]:
    for figures in used:
        counts, kind = figures.details.get("days"), figures.domain.kinds[0]
        if not counts:
            continue
        first, number = date.fromisoformat(counts["first"]), len(counts["other"])
        days = [first + timedelta(days=at) for at in range(number)]
        series = [Series(tag, values) for tag, values in counts["by_tag"].items()]
        rest = {_OTHERS: counts["other"], _NO_TAG: counts["untagged"]}
        series += [Series(name, values, is_rest=True) for name, values in rest.items() if any(values)]
        total = sum(value or 0 for layer in series for value in layer.values)
        is_past = figures.as_of is not None and days[-1] < figures.as_of.astimezone(UTC).date()
        yield Chart(
            name=f"days-{figures.domain.name}",
            title=f"{_words(kind)} per day",
            summary=f"{total:,} {kind.plural} in the {number} days up to {days[-1]:%d %B %Y}, by their first tag.",
            labels=[day.isoformat() for day in days],
            series=series,
            axis="day (UTC)",
            unit=kind.plural,
            is_stacked=True,
            is_wide=True,
            as_of=figures.as_of,
            notes=[
                f"There are no {kind.plural} in the last {DAYS} days. The chart shows the days up to the newest one."
            ]
            if is_past
            else [],
        )


def _growth(snapshot: DashboardSnapshot) -> Iterator[Chart]:
    if snapshot.growth is None:
        return
    lines: dict[str, dict[date, int]] = {}
    for row in snapshot.growth:
        lines.setdefault(_line_name(row.domain, row.store, snapshot), {})[row.day] = row.size
    today = snapshot.now.astimezone(UTC).date()
    for figures in snapshot.figures:
        if figures.size and not figures.problem:
            lines.setdefault(_line_name(figures.domain.name, figures.store, snapshot), {})[today] = figures.size
    days = sorted({day for sizes in lines.values() for day in sizes})
    if not days:
        return
    now = ", ".join(f"{name} {filesizeformat(sizes[today])}" for name, sizes in lines.items() if today in sizes)
    yield Chart(
        name="growth",
        title="Growth",
        summary=f"The size of each store by day. Now: {now}.",
        labels=[day.isoformat() for day in days],
        series=[Series(name, [sizes.get(day) for day in days]) for name, sizes in lines.items()],
        axis="day (UTC)",
        unit="bytes",
        kind="line",
        notes=[] if len(days) > 1 else ["Maintenance adds one value a day."],
    )


def _line_name(domain: str, store: str, snapshot: DashboardSnapshot) -> str:
    """Return the name of a line; all domains in SQLite share one line, because they share one file."""
    if store == SQL and snapshot.is_one_file:
        return "SQL database"
    return f"{domain} in {NAMES.get(store, store)}"


def _ages(snapshot: DashboardSnapshot, used: Sequence[Figures]) -> Iterator[Chart]:
    for figures in used:
        ages = figures.details.get("ages")
        if not ages:
            continue
        kind, total = figures.domain.kinds[0], figures.counts.get(figures.domain.kinds[0].plural, 0)
        limits = {
            policy.name: days
            for policy in snapshot.policies
            if policy.enabled and (policy.domain, policy.store) == (figures.domain.name, figures.store)
            and (days := limit_of(policy)) is not None
        }  # fmt: skip
        limit = min(limits.values(), default=None)
        bounds = [0.0, *(days for days, _ in ages)]
        older = [total, *(number for _, number in ages), 0]
        numbers = [max(0, older[at] - older[at + 1]) for at in range(len(bounds))]
        expired = [limit is not None and days >= limit for days in bounds]
        within = [0 if is_over else number for number, is_over in zip(numbers, expired, strict=True)]
        beyond = [number if is_over else 0 for number, is_over in zip(numbers, expired, strict=True)]
        words = [f"older than {days:g} days: “{name}”" for name, days in limits.items()]
        yield Chart(
            name=f"ages-{figures.domain.name}",
            title=f"Ages of {kind.plural}",
            summary=f"{sum(within):,} {kind.plural} are within the policies' age limits; {sum(beyond):,} are older."
            if limits
            else f"No policy limits the age of {kind.plural}.",
            labels=_spans(bounds),
            series=[
                Series("kept" if limits else kind.plural, within),
                *([Series("older than a policy allows", beyond, is_warning=True)] if limits else []),
            ],
            axis="age in days",
            unit=kind.plural,
            is_stacked=True,
            as_of=figures.as_of,
            notes=[f"Policies remove {kind.plural} that are {'; '.join(words)}."] if words else [],
        )


def _spans(bounds: Sequence[float]) -> list[str]:
    between = [f"{low:g} to {high:g}" for low, high in pairwise(bounds)]
    return [*between, f"over {bounds[-1]:g}"]


def _tallies(used: Sequence[Figures]) -> Iterator[Chart]:
    """Yield a chart of the number of records per value, for domains without an order by time."""
    for figures in used:
        if is_ordered_by_time(figures.domain.kinds[0]):
            continue
        tallies = {name: dict(counts) for name, counts in figures.details.get("tallies", {}).items() if counts}
        values = list(dict.fromkeys(value for counts in tallies.values() for value in counts))[:MOST_BARS]
        if not values:
            continue
        field_name = figures.domain.tallies[next(iter(tallies))][1]
        kind = figures.domain.kinds[0]
        yield Chart(
            name=f"tally-{figures.domain.name}",
            title=f"{_words(kind)} per {_short(field_name)}",
            summary=f"The most frequent values come first. “{values[0]}” has the most {_plain(kind)}.",
            labels=values,
            series=[
                Series(_plain(figures.domain.tallies[name][0]), [counts.get(value, 0) for value in values])
                for name, counts in tallies.items()
            ],
            axis=_short(field_name),
            unit="records",
            is_flat=True,
            as_of=figures.as_of,
        )


def _durations(snapshot: DashboardSnapshot) -> Iterator[Chart]:
    jobs = [job for job in snapshot.ended_jobs if job.started_at and job.finished_at][:MOST_BARS][::-1]
    if not jobs:
        return
    took = [max(0.001, round((job.finished_at - job.started_at).total_seconds(), 3)) for job in jobs]  # type: ignore[operator]
    yield Chart(
        name="jobs",
        title="Duration of jobs",
        summary=f"The last {len(jobs)} jobs that have ended. The longest took {max(took):,.1f} seconds.",
        labels=[f"{job.operation} {job.pk}" for job in jobs],
        series=[
            Series(
                str(state.label).lower(),
                [seconds if job.state == state else None for job, seconds in zip(jobs, took, strict=True)],
                is_warning=state == JobState.FAILED,
                is_rest=state == JobState.CANCELLED,
            )
            for state in _STATES
            if any(job.state == state for job in jobs)
        ],
        axis="job",
        unit="seconds",
        is_stacked=True,
    )


def _words(kind: type[Record]) -> str:
    return _plain(kind).capitalize()


def _plain(kind: type[Record]) -> str:
    return kind.plural.replace("_", " ")


def _short(name: str) -> str:
    return name.removesuffix("_id")
