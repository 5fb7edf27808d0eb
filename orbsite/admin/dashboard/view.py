"""The admin's first page: how the stores are, what was last done, what needs attention, and how it all grows."""

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

from orbsite.admin.base.permissions import may, page
from orbsite.admin.dashboard.alert import AT_ONCE, Link, May, ago, form
from orbsite.admin.dashboard.alerts import alerts
from orbsite.admin.dashboard.charts import charts
from orbsite.admin.dashboard.figures import FILE, SQL, Figures
from orbsite.admin.dashboard.snapshot import DashboardSnapshot, look
from orbsite.admin.jobs import start as starting
from orbsite.conf import app_settings
from orbsite.models.jobs import Job
from orbsite.models.ledger import Run
from orbsite.storage.encoding.timestamps import parse
from orbsite.storage.file.last_runs import Facts

_COMPACT = "compact"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one store has to say in a row."""

    text: str
    at: datetime | None = None
    """The moment that the text is about."""
    tone: str = ""
    """good, bad or quiet."""


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A fact about both stores."""

    label: str
    cells: list[Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """What was last done of something."""

    label: str
    at: datetime | None
    when: str
    told: str = ""
    links: list[Link] = field(default_factory=list)


def urls(site: AdminSite) -> list[Any]:
    """Return the address of the buttons; the page itself is the site's index."""

    def start(request: HttpRequest, name: str) -> Any:
        operation, arguments = AT_ONCE.get(name, ("", {}))
        if not operation or not may(request.user, operation):
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return starting.start(request, operation, arguments, back=reverse("admin:index"))

    return [path("console/start/<slug:name>/", page(site, start, allowed=lambda _: True), name="start")]


def context(user: Any, now: datetime) -> dict[str, Any]:
    """Return what the page shows to somebody; nothing of what they may not see."""
    snapshot, allowed = look(user, now), partial(may, user)
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
        "under_way": [(job, _how_far(job)) for job in snapshot.open_jobs],
        "charts": plots,
        "drawn": [plot.as_json() for plot in plots],
    }


def _groups(snapshot: DashboardSnapshot) -> Iterator[tuple[str, list[FigureRow]]]:
    by_domain: dict[str, list[Figures]] = {}
    for one in snapshot.figures:
        by_domain.setdefault(one.domain.name, []).append(one)
    for name, pair in by_domain.items():
        yield name, list(_rows(snapshot, sorted(pair, key=lambda one: (FILE, SQL).index(one.store))))


def _rows(snapshot: DashboardSnapshot, pair: Sequence[Figures]) -> Iterator[FigureRow]:
    yield FigureRow("health", [_health(one) for one in pair])
    names = list(dict.fromkeys(name for one in reversed(pair) for name in one.counts if name != "invalid"))
    names = names or [kind.plural for kind in pair[0].domain.kinds]
    for name in names:
        yield FigureRow(name.replace("_", " "), [_number(one, name) for one in pair])
    if any(one.counts.get("invalid") for one in pair):
        yield FigureRow("not valid, or rejected", [_number(one, "invalid") for one in pair])
    yield FigureRow("size", [_size(snapshot, one) for one in pair])
    yield FigureRow("newest", [_moment(snapshot, one.newest) for one in pair])
    if not all(one.is_small for one in pair):
        yield FigureRow("counted", [_counted(snapshot, one) for one in pair])


def _health(one: Figures) -> Cell:
    tones = {"healthy": "good", "damaged": "bad", "look at it": "odd"}
    words = {"none": "no file yet", "not looked at": "too large to look at here"}
    return Cell(text=words.get(one.health, one.health), tone=tones.get(one.health, "quiet"))


def _number(one: Figures, name: str) -> Cell:
    if name in one.counts:
        return Cell(text=f"{one.counts[name]:,}")
    if one.problem or not one.is_there or one.is_small:
        return Cell(text="-", tone="quiet")
    return Cell(text="not counted yet", tone="quiet")


def _size(snapshot: DashboardSnapshot, one: Figures) -> Cell:
    in_all = " in all" if one.store == SQL and snapshot.is_one_file else ""
    return Cell(text=f"{filesizeformat(one.size)}{in_all}") if one.size else Cell(text="-", tone="quiet")


def _moment(snapshot: DashboardSnapshot, moment: datetime | None) -> Cell:
    return Cell(text="-", tone="quiet") if moment is None else Cell(text=_when(snapshot, moment), at=moment)


def _counted(snapshot: DashboardSnapshot, one: Figures) -> Cell:
    return Cell(text="just now", tone="quiet") if one.is_small else _moment(snapshot, one.as_of)


def _tiles(snapshot: DashboardSnapshot, allowed: May) -> Iterator[Tile]:
    if not snapshot.is_ours:
        return
    for label, names, page_of in (
        ("Migration", ("migrate", "import"), ("migrate", "Migrate…")),
        ("Verification", ("verify",), ("verify", "Verify…")),
    ):
        last = _last(snapshot, *names)
        at = last.finished_at if last else None
        links = [Link(f"Run {last.pk}", reverse("admin:orbsite_run_change", args=[last.pk]))] if last else []
        told = _in_words(last) if last else ""
        yield Tile(label=label, at=at, when=_when(snapshot, at), told=told, links=[*links, *form(allowed, *page_of)])
    yield _compaction(snapshot, allowed)
    yield Tile(
        label="Backup",
        at=snapshot.backup,
        when=_when(snapshot, snapshot.backup),
        told="the newest one" if snapshot.backup else "",
        links=form(allowed, "backup", "Back up…"),
    )


def _compaction(snapshot: DashboardSnapshot, allowed: May) -> Tile:
    last = _last(snapshot, _COMPACT)
    of_files = [facts[_COMPACT] for facts in Facts(app_settings.data_directory()).read().values() if _COMPACT in facts]
    moments = {"SQL": last.finished_at if last else None, "files": parse(max(of_files))[0] if of_files else None}
    known = {name: moment for name, moment in moments.items() if moment is not None}
    return Tile(
        label="Compaction",
        at=max(known.values(), default=None),
        when=_when(snapshot, max(known.values(), default=None)),
        told="; ".join(f"{name}: {_when(snapshot, moment)}" for name, moment in known.items())
        if len(known) > 1
        else "",
        links=form(allowed, "compact", "Compact…"),
    )


def _last(snapshot: DashboardSnapshot, *names: str) -> Run | None:
    runs = [run for name in names for run in snapshot.runs.get(name, ()) if run.state == Run.State.COMPLETE]
    return max(runs, key=lambda run: run.pk, default=None)


def _how_far(job: Job) -> str:
    expected = f" of {job.expected:,}" if job.expected else ""
    return f"{job.state}, {job.progress:,}{expected}" if job.progress or expected else job.state


def _in_words(run: Run) -> str:
    """Return what became of how many records."""
    totals: dict[str, int] = {}
    for counts in (counts for kinds in run.counts.values() for counts in kinds.values()):
        for what, number in counts.items():
            totals[what] = totals.get(what, 0) + number
    return ", ".join(f"{number:,} {what}" for what, number in totals.items() if number)


def _when(snapshot: DashboardSnapshot, moment: datetime | None) -> str:
    if moment is None:
        return "never"
    told = ago(snapshot, moment)
    if moment > snapshot.now:
        return "still to come"
    return "just now" if told.startswith("0") else f"{told} ago"
