"""The plots of the dashboard, as numbers: a script draws them, and a table beside each says the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.template.defaultfilters import filesizeformat

from orbsite.admin.dashboard.figures import NAMES, SQL, Figures
from orbsite.admin.dashboard.snapshot import DashboardSnapshot
from orbsite.models.jobs import Job
from orbsite.operations.statistics.overview import DAYS, limit_of
from orbsite.storage.records.record import Record, is_ordered_by_time

MOST_BARS = 30
_NO_TAG, _OTHERS = "no tag", "other tags"
_STATES = (Job.State.DONE, Job.State.FAILED, Job.State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Series:
    """A line, or a layer of bars."""

    name: str
    values: Sequence[int | float | None]
    is_warning: bool = False
    """Whether it stands for what goes, or went wrong."""
    is_rest: bool = False
    """Whether it stands for everything that has no name of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One plot."""

    name: str
    title: str
    summary: str
    """What it shows, in a sentence."""
    labels: Sequence[str]
    series: list[Series]
    axis: str
    """What the labels are."""
    unit: str = ""
    """What the values are: records, bytes or seconds."""
    kind: str = "bar"
    is_stacked: bool = False
    is_flat: bool = False
    """Whether the bars lie, for long labels."""
    is_wide: bool = False
    as_of: datetime | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to plot."""
        return not any(value for one in self.series for value in one.values)

    @property
    def rows(self) -> Iterator[tuple[str, list[str]]]:
        """The same as rows of a table: a label, and the value of each series."""
        for at, label in enumerate(self.labels):
            yield label, [spelled(one.values[at], self.unit) for one in self.series]

    def as_json(self) -> dict[str, Any]:
        """Return what the script needs."""
        names = ("name", "title", "labels", "unit", "axis", "kind", "is_stacked", "is_flat")
        return {name: getattr(self, name) for name in names} | {"series": [asdict(one) for one in self.series]}


def charts(snapshot: DashboardSnapshot) -> list[Chart]:
    """Return the plots that somebody may see."""
    used = [one for one in snapshot.figures if one.store == snapshot.in_use and one.details]
    found = [*_per_day(used), *_growth(snapshot), *_ages(snapshot, used), *_tallies(used), *_durations(snapshot)]
    return [one for one in found if not one.is_empty]


def spelled(value: float | None, unit: str) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return "-"
    if unit == "bytes":
        return str(filesizeformat(value))
    if unit == "seconds":
        return f"{value:,.1f} s"
    return f"{value:,.0f}"


def _per_day(used: Sequence[Figures]) -> Iterator[Chart]:
    for one in used:
        told, kind = one.details.get("days"), one.domain.kinds[0]
        if not told:
            continue
        first, number = date.fromisoformat(told["first"]), len(told["other"])
        days = [first + timedelta(days=at) for at in range(number)]
        series = [Series(tag, values) for tag, values in told["by_tag"].items()]
        rest = {_OTHERS: told["other"], _NO_TAG: told["untagged"]}
        series += [Series(name, values, is_rest=True) for name, values in rest.items() if any(values)]
        total = sum(value or 0 for layer in series for value in layer.values)
        is_past = one.as_of is not None and days[-1] < one.as_of.astimezone(UTC).date()
        yield Chart(
            name=f"days-{one.domain.name}",
            title=f"{_words(kind)} per day",
            summary=f"{total:,} {kind.plural} in {number} days until {days[-1]:%d %B %Y}, by the first tag of each.",
            labels=[day.isoformat() for day in days],
            series=series,
            axis="day (UTC)",
            unit=kind.plural,
            is_stacked=True,
            is_wide=True,
            as_of=one.as_of,
            notes=[f"There is none in the last {DAYS} days; these are the days before the newest."] if is_past else [],
        )


def _growth(snapshot: DashboardSnapshot) -> Iterator[Chart]:
    if snapshot.growth is None:
        return
    lines: dict[str, dict[date, int]] = {}
    for row in snapshot.growth:
        lines.setdefault(_line(row.domain, row.store, snapshot), {})[row.day] = row.size
    today = snapshot.now.astimezone(UTC).date()
    for one in snapshot.figures:
        if one.size and not one.problem:
            lines.setdefault(_line(one.domain.name, one.store, snapshot), {})[today] = one.size
    days = sorted({day for sizes in lines.values() for day in sizes})
    if not days:
        return
    now = ", ".join(f"{name} {filesizeformat(sizes[today])}" for name, sizes in lines.items() if today in sizes)
    yield Chart(
        name="growth",
        title="Growth",
        summary=f"Bytes of each store by day; now: {now}.",
        labels=[day.isoformat() for day in days],
        series=[Series(name, [sizes.get(day) for day in days]) for name, sizes in lines.items()],
        axis="day (UTC)",
        unit="bytes",
        kind="line",
        notes=[] if len(days) > 1 else ["Maintenance notes one point a day."],
    )


def _line(domain: str, store: str, snapshot: DashboardSnapshot) -> str:
    """Return what a line is called: SQLite knows the size of its whole file alone."""
    if store == SQL and snapshot.is_one_file:
        return "SQL database"
    return f"{domain} in {NAMES.get(store, store)}"


def _ages(snapshot: DashboardSnapshot, used: Sequence[Figures]) -> Iterator[Chart]:
    for one in used:
        told = one.details.get("ages")
        if not told:
            continue
        kind, total = one.domain.kinds[0], one.counts.get(one.domain.kinds[0].plural, 0)
        limits = {
            policy.name: days
            for policy in snapshot.policies
            if policy.enabled and (policy.domain, policy.store) == (one.domain.name, one.store)
            and (days := limit_of(policy)) is not None
        }  # fmt: skip
        limit = min(limits.values(), default=None)
        bounds = [0.0, *(days for days, _ in told)]
        older = [total, *(number for _, number in told), 0]
        numbers = [max(0, older[at] - older[at + 1]) for at in range(len(bounds))]
        gone = [limit is not None and days >= limit for days in bounds]
        within = [0 if is_over else number for number, is_over in zip(numbers, gone, strict=True)]
        beyond = [number if is_over else 0 for number, is_over in zip(numbers, gone, strict=True)]
        words = [f"older than {days:g} days: “{name}”" for name, days in limits.items()]
        yield Chart(
            name=f"ages-{one.domain.name}",
            title=f"Ages of {kind.plural}",
            summary=f"{sum(within):,} within the age that policies allow, {sum(beyond):,} older."
            if limits
            else "No policy limits their age.",
            labels=_spans(bounds),
            series=[
                Series("kept" if limits else kind.plural, within),
                *([Series("older than a policy allows", beyond, is_warning=True)] if limits else []),
            ],
            axis="age in days",
            unit=kind.plural,
            is_stacked=True,
            as_of=one.as_of,
            notes=[f"Policies remove what is {'; '.join(words)}."] if words else [],
        )


def _spans(bounds: Sequence[float]) -> list[str]:
    between = [f"{low:g} to {high:g}" for low, high in pairwise(bounds)]
    return [*between, f"over {bounds[-1]:g}"]


def _tallies(used: Sequence[Figures]) -> Iterator[Chart]:
    """Plot how many records have which value, of what is not kept by time."""
    for one in used:
        if is_ordered_by_time(one.domain.kinds[0]):
            continue
        tallies = {name: dict(told) for name, told in one.details.get("tallies", {}).items() if told}
        values = list(dict.fromkeys(value for told in tallies.values() for value in told))[:MOST_BARS]
        if not values:
            continue
        field_name = one.domain.tallies[next(iter(tallies))][1]
        kind = one.domain.kinds[0]
        yield Chart(
            name=f"tally-{one.domain.name}",
            title=f"{_words(kind)} per {_short(field_name)}",
            summary=f"The most frequent first; “{values[0]}” has most of the {kind.plural}.",
            labels=values,
            series=[
                Series(_plain(one.domain.tallies[name][0]), [told.get(value, 0) for value in values])
                for name, told in tallies.items()
            ],
            axis=_short(field_name),
            unit="records",
            is_flat=True,
            as_of=one.as_of,
        )


def _durations(snapshot: DashboardSnapshot) -> Iterator[Chart]:
    jobs = [job for job in snapshot.ended_jobs if job.started_at and job.finished_at][:MOST_BARS][::-1]
    if not jobs:
        return
    took = [max(0.001, round((job.finished_at - job.started_at).total_seconds(), 3)) for job in jobs]  # type: ignore[operator]
    yield Chart(
        name="jobs",
        title="How long jobs took",
        summary=f"The last {len(jobs)} jobs that have ended; the longest took {max(took):,.1f} seconds.",
        labels=[f"{job.operation} {job.pk}" for job in jobs],
        series=[
            Series(
                str(state.label).lower(),
                [seconds if job.state == state else None for job, seconds in zip(jobs, took, strict=True)],
                is_warning=state == Job.State.FAILED,
                is_rest=state == Job.State.CANCELLED,
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
