"""The charts of the page of trends. Each answers one question, in its summary too, or says what to do first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from typing import Any

from django.template.defaultfilters import filesizeformat

from orbsite.admin.dashboard.charts import Chart, Series
from orbsite.admin.dashboard.trend_data import TrendData
from orbsite.models.retention import domains_with_retention
from orbsite.operations.statistics.cutover_progress import PLACES
from orbsite.operations.statistics.forecast import FEWEST_DAYS, Forecast, forecast
from orbsite.storage.records.domain import Domain, registered
from orbsite.storage.retention.policy import retained

MOST_NAMED = 5
"""The number of clients or reasons with a series of their own."""
MOST_AHEAD = 60
"""The number of days that a forecast is drawn for."""
HOURS = 48
_OTHERS = "others"
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|“[^”]*”")
_NUMBER = re.compile(r"\d+")
_MONTHS = 60
_YEARS = 730
_OUTCOMES = {"equal": "equal", "differ": "differ", "missing": "only in files", "extra": "only in SQL"}


def trend_charts(data: TrendData) -> list[Chart]:
    """Return the charts that the user may see. A chart without data has no labels, and says what to do first."""
    charts: list[Chart] = []
    if data.growth is not None:
        charts += [_growth(data), *_retention(data), *_users(data)]
    if data.verifications is not None:
        charts.append(_records(data))
    if data.rejects is not None:
        charts.append(_rejects(data))
    if data.use is not None:
        charts += [_use(data, "reads"), _use(data, "saves")]
    return charts


def _growth(data: TrendData) -> Chart:
    sizes = data.sizes
    found = forecast(sizes, data.free)
    days = sorted(sizes)
    ahead = _ahead(days, sizes, found)
    labels = [*days, *(day for day, _ in ahead)]
    drawn = dict(ahead) | ({days[-1]: sizes[days[-1]]} if ahead else {})
    return Chart(
        name="forecast",
        title="When will the disk be full?",
        summary=_growth_summary(data, found),
        labels=[day.isoformat() for day in labels],
        series=[
            Series("stored on this disk", [sizes.get(day) for day in labels]),
            *([Series("forecast", [drawn.get(day) for day in labels], is_rest=True)] if ahead else []),
        ],
        axis="day (UTC)",
        unit="bytes",
        kind="line",
        is_wide=True,
        notes=[] if data.is_one_disk else ["The database is on a server of its own, whose disk is not counted here."],
    )


def _growth_summary(data: TrendData, found: Forecast | None) -> str:
    if not data.sizes:
        return "There are no daily statistics yet. Run maintenance, which saves them once a day."
    if found is None:
        why = "the free space is not known" if data.free is None else f"it needs {FEWEST_DAYS} days of statistics"
        return f"It cannot be told yet: {why}. There are {len(data.sizes)}."
    free = f"{filesizeformat(data.free or 0)} are free"
    if found.per_day <= 0:
        return f"Not at all: what is stored does not grow. {free}."
    speed = f"It grows by {filesizeformat(found.per_day)} a day, and {free}."
    if found.days_left is None:
        return f"Not within ten years. {speed}"
    return f"Full in about {_span(found.days_left)}. {speed}"


def _span(days: int) -> str:
    if days < _MONTHS:
        return f"{days} day{'' if days == 1 else 's'}"
    return f"{days // 30} months" if days < _YEARS else f"{days // 365} years"


def _ahead(days: Sequence[date], sizes: dict[date, int], found: Forecast | None) -> list[tuple[date, int]]:
    if found is None:
        return []
    number = min(MOST_AHEAD, len(days), found.days_left if found.days_left is not None else MOST_AHEAD)
    last = days[-1]
    return [(last + timedelta(days=at), round(max(0, sizes[last] + at * found.per_day))) for at in range(1, number + 1)]


def _retention(data: TrendData) -> Iterator[Chart]:
    for domain in registered(domains_with_retention()):
        if domain.name not in data.domains:
            continue
        kind = retained(domain)[0].plural
        stored = data.stored(domain.name, kind)
        removed = data.removed_by_day(domain.name, kind)
        days = sorted(stored)
        first = days[0] if days else None
        gone = list(accumulate(_between(removed, first, days)))
        without = [stored[day] + number for day, number in zip(days, gone, strict=True)]
        yield Chart(
            name=f"retention-{domain.name}",
            title=f"What does retention do to {kind.replace('_', ' ')}?",
            summary=_retention_summary(kind, stored, gone, days),
            labels=[day.isoformat() for day in days],
            series=[
                Series("stored", [stored[day] for day in days]),
                Series("without retention", without, is_rest=True),
            ],
            axis="day (UTC)",
            unit=kind,
            kind="line",
        )


def _between(removed: Counter[date], first: date | None, days: Sequence[date]) -> Iterator[int]:
    """Yield the records removed since the day before, for each day; those of the first day are in its number."""
    before = first
    for day in days:
        yield sum(number for one, number in removed.items() if before is not None and before < one <= day)
        before = day


def _retention_summary(kind: str, stored: dict[date, int], gone: Sequence[int], days: Sequence[date]) -> str:
    if not days:
        return "There are no daily statistics yet. Run maintenance, which saves them once a day."
    if not gone[-1]:
        return f"Retention has removed no {kind} since {days[0]:%d %B %Y}. Add a policy, or preview one."
    now = stored[days[-1]]
    return (
        f"Since {days[0]:%d %B %Y} retention has removed {gone[-1]:,} {kind}. {now:,} are stored; without it "
        f"there would be {now + gone[-1]:,}."
    )


def _users(data: TrendData) -> Iterator[Chart]:
    for domain in registered():
        rows = [row for row in data.cutover if row.domain == domain.name]
        if domain.name in data.domains and (rows or domain.name in data.files):
            yield _users_of(domain, rows)


def _users_of(domain: Domain, rows: Sequence[Any]) -> Chart:
    names = [place.replace("_", " ").replace("sql", "SQL") for place in PLACES]
    summary = "The users were not compared yet. Count the records, which compares both stores user by user."
    if rows:
        last = rows[-1].counts
        total = sum(last.get(place, 0) for place in PLACES)
        texts = [f"{last.get(place, 0):,} {name}" for place, name in zip(PLACES, names, strict=True) if last.get(place)]
        summary = f"Of {total:,} users, on {rows[-1].day:%d %B %Y}: {', '.join(texts) or 'none'}."
        unequal = sum(last.get(f"{place}_records", 0) for place in PLACES if place != "equal")
        summary += f" {unequal:,} records are of users that are not equal." if unequal else ""
    return Chart(
        name=f"cutover-{domain.name}",
        title=f"How far is the cut-over of {domain.name}?",
        summary=summary,
        labels=[row.day.isoformat() for row in rows],
        series=[
            Series(name, [row.counts.get(place, 0) for row in rows], is_warning=place == "differ")
            for place, name in zip(PLACES, names, strict=True)
        ],
        axis="day (UTC)",
        unit="users",
        is_stacked=True,
        as_of=rows[-1].noted_at if rows else None,
    )


def _records(data: TrendData) -> Chart:
    runs = data.verifications or []
    totals = [_totals(run.counts) for run in runs]
    summary = "The files and SQL were not compared yet. Verify, which compares them record by record."
    if runs:
        open_ones = sum(totals[-1][what] for what in _OUTCOMES if what != "equal")
        found = f"{totals[-1]['equal']:,} records were equal, and {open_ones:,} were not"
        summary = f"At the last verification, run {runs[-1].pk}, {found}."
    return Chart(
        name="verifications",
        title="Do the files and SQL agree?",
        summary=summary,
        labels=[f"run {run.pk}, {run.started_at.astimezone(UTC):%Y-%m-%d}" for run in runs],
        series=[
            Series(name, [total[what] for total in totals], is_warning=what == "differ")
            for what, name in _OUTCOMES.items()
        ],
        axis="verification",
        unit="records",
        is_stacked=True,
    )


def _totals(counts: dict[str, dict[str, dict[str, int]]]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for kinds in counts.values():
        for one in kinds.values():
            totals.update(one)
    return totals


def _rejects(data: TrendData) -> Chart:
    rejects = data.rejects or []
    cells = Counter((moment.astimezone(UTC).date(), reason_of(text)) for moment, text in rejects)
    days = sorted({day for day, _ in cells})
    reasons = Counter(reason_of(text) for _, text in rejects)
    summary = "No record was rejected. A migration or an import lists here what it could not take."
    if rejects:
        reason, number = reasons.most_common(1)[0]
        summary = f"Mostly “{reason}”: {number:,} of the last {len(rejects):,} rejects."
    return Chart(
        name="rejects",
        title="Why are records rejected?",
        summary=summary,
        labels=[day.isoformat() for day in days],
        series=_named(cells, days, [name for name, _ in reasons.most_common(MOST_NAMED)]),
        axis="day (UTC)",
        unit="rejects",
        is_stacked=True,
    )


def reason_of(text: str) -> str:
    """Return a reason without what differs from reject to reject: quoted values and numbers."""
    return _NUMBER.sub("N", _QUOTED.sub("…", text))[:80]


def _use(data: TrendData, field: str) -> Chart:
    end = data.now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [end - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
    cells: Counter[tuple[datetime, str]] = Counter()
    for row in data.use or ():
        cells[row.hour, row.client if data.names_clients else "all clients"] += getattr(row, field)
    totals: Counter[str] = Counter()
    for (_, client), number in cells.items():
        totals[client] += number
    names = [name for name, number in totals.most_common(MOST_NAMED) if number]
    total = sum(totals.values())
    summary = (
        f"No client of the API has made {field} in the last {HOURS} hours. Create a token for a program to use it."
    )
    if total:
        summary = f"{total:,} {field} in the last {HOURS} hours, the most by {names[0]}: {totals[names[0]]:,}."
    return Chart(
        name=f"use-{field}",
        title=f"Who {'reads' if field == 'reads' else 'saves'}, and when?",
        summary=summary,
        labels=[f"{hour:%Y-%m-%d %H}:00" for hour in hours] if total else [],
        series=_named(cells, hours if total else [], names),
        axis="hour (UTC)",
        unit="requests",
        is_stacked=True,
        notes=["Requests of programs that open the stores themselves, without the API, are not counted."],
    )


def _named(cells: Counter[tuple[Any, str]], labels: Sequence[Any], names: Sequence[str]) -> list[Series]:
    """Return a series for each name, and one for all others together if there are any."""
    series = [Series(name, [cells[label, name] for label in labels]) for name in names]
    others: Counter[Any] = Counter()
    for (label, name), number in cells.items():
        if name not in names:
            others[label] += number
    rest = [others[label] for label in labels]
    return [*series, *([Series(_OTHERS, rest, is_rest=True)] if any(rest) else [])]
