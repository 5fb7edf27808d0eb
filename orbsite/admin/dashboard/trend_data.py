"""The data of the page of trends: a few bounded queries over the statistics and the ledger, and no store is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import connection

from orbsite.admin.base.permissions import may_see, may_see_all
from orbsite.conf import app_settings
from orbsite.conf.app_settings import Persistence
from orbsite.models.api_tokens import Token
from orbsite.models.ledger import Reject, Run, RunState
from orbsite.models.retention import PolicyRun, PolicyState
from orbsite.models.statistics import CutoverProgress, Growth, HourlyUse
from orbsite.operations.monitoring.snapshot import DAYS_OF_GROWTH
from orbsite.operations.statistics.disk import free_bytes
from orbsite.operations.statistics.figures import FILE, SQL
from orbsite.storage.records.domain import registered
from orbsite.stores import open_document

MOST_REJECTS, MOST_RUNS, MOST_VERIFICATIONS, MOST_USE = 5000, 1000, 20, 5000


@dataclass(frozen=True, kw_only=True)
class TrendData:
    """What the page of trends shows, limited to what the user may view. None stands for what the user may not view."""

    now: datetime
    store: str
    """The store in use: `file` or `sql`."""
    domains: list[str]
    """The domains of which the user may view all records."""
    files: set[str] = field(default_factory=set)
    """The domains that have a file."""
    growth: list[Growth] | None = None
    """The daily statistics, the oldest first."""
    removals: list[Run | PolicyRun] = field(default_factory=list)
    """The runs of retention over the store in use, and those that have restored records."""
    cutover: list[CutoverProgress] = field(default_factory=list)
    verifications: list[Run] | None = None
    """The last verifications, the oldest first."""
    rejects: list[tuple[datetime, str]] | None = None
    """The times and the reasons of the last rejects."""
    use: list[HourlyUse] | None = None
    names_clients: bool = False
    """Whether the user may view the names of tokens."""
    free: int | None = None
    """The free bytes of the disk."""
    is_one_disk: bool = True
    """Whether the database is a file on this machine, like the JSON files."""

    @property
    def sizes(self) -> dict[date, int]:
        """The bytes on this disk by day, of the days that have a value for each store that the last day has."""
        by_day: dict[date, dict[str, int]] = {}
        for row in self.growth or ():
            if row.store == FILE or self.is_one_disk:
                by_day.setdefault(row.day, {})[SQL if row.store == SQL else f"{row.domain} in files"] = row.size
        complete = by_day[max(by_day)].keys() if by_day else set()
        return {day: sum(sizes.values()) for day, sizes in sorted(by_day.items()) if sizes.keys() >= complete}

    def stored(self, domain: str, kind: str) -> dict[date, int]:
        """Return the number of records of a kind in the store in use, by day."""
        rows = [row for row in self.growth or () if (row.domain, row.store) == (domain, self.store)]
        return {row.day: int(row.counts[kind]) for row in rows if kind in row.counts}

    def removed_by_day(self, domain: str, kind: str) -> Counter[date]:
        """Return the number of records of a kind that retention has removed and not restored, by day."""
        found: Counter[date] = Counter()
        for run in self.removals:
            counts = _counts(run, domain).get(kind, {})
            found[run.started_at.astimezone(UTC).date()] += counts.get("removed", 0) - counts.get("restored", 0)
        return found


def read_trends(user: Any, now: datetime) -> TrendData:
    """Return the data of the trends for a user."""
    store = FILE if app_settings.persistence() is Persistence.FILE else SQL
    domains = [domain for domain in registered() if may_see_all(user, domain)]
    names = [domain.name for domain in domains]
    parts: dict[str, Any] = {"now": now, "store": store, "domains": names}
    if may_see(user, Growth):
        parts |= {
            "growth": _growth(names, now),
            "cutover": _cutover(names, now),
            "removals": list(_removals(store, now)),
        }
        base = app_settings.data_directory()
        parts["files"] = {domain.name for domain in domains if open_document(domain, base).path.exists()}
        parts["use"] = list(HourlyUse.objects.filter(hour__gt=now - timedelta(hours=48))[:MOST_USE])
        parts["names_clients"] = may_see(user, Token)
    if may_see(user, Run):
        parts |= {"verifications": _verifications(), "free": _free()}
    if may_see(user, Reject):
        parts["rejects"] = _rejects(names)
    return TrendData(**parts, is_one_disk=connection.vendor == "sqlite")


def _growth(names: list[str], now: datetime) -> list[Growth]:
    since = now.astimezone(UTC).date() - timedelta(days=DAYS_OF_GROWTH)
    return list(Growth.objects.filter(day__gte=since, domain__in=names).order_by("day").defer("details"))


def _cutover(names: list[str], now: datetime) -> list[CutoverProgress]:
    since = now.astimezone(UTC).date() - timedelta(days=DAYS_OF_GROWTH)
    return list(CutoverProgress.objects.filter(day__gte=since, domain__in=names).order_by("day"))


def _removals(store: str, now: datetime) -> Iterator[Run | PolicyRun]:
    """Yield the runs that have changed the store in use: those of files are recorded with their policies alone."""
    since = now - timedelta(days=DAYS_OF_GROWTH)
    if store == FILE:
        done = PolicyRun.objects.filter(state=PolicyState.DONE, policy__store=FILE, started_at__gt=since)
        yield from done.order_by("-id")[:MOST_RUNS]
        return
    runs = Run.objects.filter(operation__in=(Run.Operation.COMPACT, Run.Operation.UNDO), started_at__gt=since)
    yield from runs.order_by("-id").only("started_at", "counts")[:MOST_RUNS]


def _counts(run: Run | PolicyRun, domain: str) -> dict[str, dict[str, int]]:
    if isinstance(run, Run):
        return dict(run.counts.get(domain) or {})
    section = ((run.result or {}).get("domains") or {}).get(domain) or {}
    return dict(section.get("kinds") or {})


def _verifications() -> list[Run]:
    runs = Run.objects.filter(operation=Run.Operation.VERIFY, state=RunState.COMPLETE).order_by("-id")
    return list(runs.only("started_at", "counts")[:MOST_VERIFICATIONS])[::-1]


def _rejects(names: list[str]) -> list[tuple[datetime, str]]:
    rows = Reject.objects.filter(domain__in=names).order_by("-id").values_list("run__started_at", "reason")
    return list(rows[:MOST_REJECTS])


def _free() -> int | None:
    try:
        return free_bytes()
    except OSError:
        return None
