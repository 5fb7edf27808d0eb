"""The dashboard on the admin's index page: alerts, open jobs, stores, recent operations, and charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponseNotAllowed
from django.template.defaultfilters import filesizeformat
from django.urls import path, reverse

from orbsite.admin.base.ages import when
from orbsite.admin.base.permissions import may, may_see, page
from orbsite.admin.dashboard.charts import charts
from orbsite.admin.dashboard.trends import may_see_some
from orbsite.admin.jobs import start as starting
from orbsite.conf import app_settings
from orbsite.models.jobs import Job
from orbsite.models.ledger import Run, RunState
from orbsite.operations.monitoring.alert import AT_ONCE, Link, May, form
from orbsite.operations.monitoring.alerts import alerts
from orbsite.operations.monitoring.console_pages import page_address
from orbsite.operations.monitoring.snapshot import DashboardSnapshot, look
from orbsite.operations.statistics.figures import FILE, SQL, Figures
from orbsite.operations.statistics.stats import COMPACT
from orbsite.storage.encoding.timestamps import parse
from orbsite.storage.file.last_runs import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A table cell with a figure of one store."""

    text: str
    at: datetime | None = None
    """The time that the text describes."""
    tone: str = ""
    """The style: `good`, `bad`, `odd`, `quiet`, or empty."""


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A table row with a figure of both stores."""

    label: str
    cells: list[Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """The last completed run of an operation."""

    label: str
    at: datetime | None
    when: str
    details: str = ""
    links: list[Link] = field(default_factory=list)


def urls(site: AdminSite) -> list[Any]:
    """Return the URL pattern of the buttons; the dashboard itself is the site's index page."""

    def start(request: HttpRequest, name: str) -> Any:
        operation, arguments = AT_ONCE.get(name, ("", {}))
        if not operation or not may(request.user, operation):
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return starting.start(request, operation, arguments, back=reverse("admin:index"))

    return [path("console/start/<slug:name>/", page(site, start, allowed=lambda _: True), name="start")]


def context(user: Any, now: datetime) -> dict[str, Any]:
    """Return the template context of the dashboard, limited to the data that the user may view."""
    snapshot, allowed = look(partial(may_see, user), now), partial(may, user)
    plots = charts(snapshot)
    return {
        "now": now,
        "alerts": alerts(snapshot, allowed),
        "is_shown": bool(
            snapshot.figures or snapshot.runs or snapshot.policies or snapshot.open_jobs or snapshot.ended_jobs
        ),
        "in_use": snapshot.mode.value,
        "stores": list(_groups(snapshot)),
        "tiles": list(_tiles(snapshot, allowed)),
        "open_jobs": [(job, _progress(job)) for job in snapshot.open_jobs],
        "charts": plots,
        "links_trends": may_see_some(user),
        "drawn": [plot.as_json() for plot in plots],
    }


def _groups(snapshot: DashboardSnapshot) -> Iterator[tuple[str, list[FigureRow]]]:
    by_domain: dict[str, list[Figures]] = {}
    for figures in snapshot.figures:
        by_domain.setdefault(figures.domain.name, []).append(figures)
    for name, pair in by_domain.items():
        yield name, list(_rows(snapshot, sorted(pair, key=lambda figures: (FILE, SQL).index(figures.store))))


def _rows(snapshot: DashboardSnapshot, pair: Sequence[Figures]) -> Iterator[FigureRow]:
    yield FigureRow("health", [_health(figures) for figures in pair])
    names = list(dict.fromkeys(name for figures in reversed(pair) for name in figures.counts if name != "invalid"))
    names = names or [kind.plural for kind in pair[0].domain.kinds]
    for name in names:
        yield FigureRow(name.replace("_", " "), [_number(figures, name) for figures in pair])
    if any(figures.counts.get("invalid") for figures in pair):
        yield FigureRow("invalid or rejected", [_number(figures, "invalid") for figures in pair])
    yield FigureRow("size", [_size(snapshot, figures) for figures in pair])
    yield FigureRow("newest record", [_moment(snapshot, figures.newest) for figures in pair])
    if not all(figures.is_small for figures in pair):
        yield FigureRow("counted", [_counted(snapshot, figures) for figures in pair])


def _health(figures: Figures) -> Cell:
    tones = {"healthy": "good", "damaged": "bad", "has issues": "odd"}
    words = {"missing": "no file yet", "not checked": "too large to check here"}
    return Cell(text=words.get(figures.health, figures.health), tone=tones.get(figures.health, "quiet"))


def _number(figures: Figures, name: str) -> Cell:
    if name in figures.counts:
        return Cell(text=f"{figures.counts[name]:,}")
    if figures.problem or not figures.exists or figures.is_small:
        return Cell(text="-", tone="quiet")
    return Cell(text="not counted yet", tone="quiet")


def _size(snapshot: DashboardSnapshot, figures: Figures) -> Cell:
    total = " in total" if figures.store == SQL and snapshot.is_one_file else ""
    return Cell(text=f"{filesizeformat(figures.size)}{total}") if figures.size else Cell(text="-", tone="quiet")


def _moment(snapshot: DashboardSnapshot, moment: datetime | None) -> Cell:
    return Cell(text="-", tone="quiet") if moment is None else Cell(text=when(moment, snapshot.now), at=moment)


def _counted(snapshot: DashboardSnapshot, figures: Figures) -> Cell:
    return Cell(text="just now", tone="quiet") if figures.is_small else _moment(snapshot, figures.as_of)


def _tiles(snapshot: DashboardSnapshot, allowed: May) -> Iterator[Tile]:
    if not snapshot.is_ours:
        return
    for label, names, form_link in (
        ("Migration", ("migrate", "import"), ("migrate", "Migrate…")),
        ("Verification", ("verify",), ("verify", "Verify…")),
    ):
        last = _last(snapshot, *names)
        at = last.finished_at if last else None
        links = [Link(f"Run {last.pk}", partial(page_address, "orbsite_run_change", last.pk))] if last else []
        details = _counts_text(last) if last else ""
        links = [*links, *form(allowed, *form_link)]
        yield Tile(label=label, at=at, when=when(at, snapshot.now), details=details, links=links)
    yield _compaction(snapshot, allowed)
    yield Tile(
        label="Backup",
        at=snapshot.backup,
        when=when(snapshot.backup, snapshot.now),
        details="newest backup" if snapshot.backup else "",
        links=form(allowed, "backup", "Back up…"),
    )


def _compaction(snapshot: DashboardSnapshot, allowed: May) -> Tile:
    last = _last(snapshot, COMPACT)
    of_files = [facts[COMPACT] for facts in Facts(app_settings.data_directory()).read().values() if COMPACT in facts]
    moments = {"SQL": last.finished_at if last else None, "files": parse(max(of_files))[0] if of_files else None}
    known = {name: moment for name, moment in moments.items() if moment is not None}
    return Tile(
        label="Compaction",
        at=max(known.values(), default=None),
        when=when(max(known.values(), default=None), snapshot.now),
        details="; ".join(f"{name}: {when(moment, snapshot.now)}" for name, moment in known.items())
        if len(known) > 1
        else "",
        links=form(allowed, "compact", "Compact…"),
    )


def _last(snapshot: DashboardSnapshot, *names: str) -> Run | None:
    runs = [run for name in names for run in snapshot.runs.get(name, ()) if run.state == RunState.COMPLETE]
    return max(runs, key=lambda run: run.pk, default=None)


def _progress(job: Job) -> str:
    expected = f" of {job.expected:,}" if job.expected else ""
    return f"{job.state}, {job.progress:,}{expected}" if job.progress or expected else job.state


def _counts_text(run: Run) -> str:
    """Return the record counts of a run by outcome, such as `3 new, 2 replaced`."""
    totals: dict[str, int] = {}
    for counts in (counts for kinds in run.counts.values() for counts in kinds.values()):
        for what, number in counts.items():
            totals[what] = totals.get(what, 0) + number
    return ", ".join(f"{number:,} {what}" for what, number in totals.items() if number)
