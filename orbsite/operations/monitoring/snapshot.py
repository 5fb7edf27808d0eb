"""All data of the dashboard, read once for each page. An unreadable store is part of the data, with its problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from orbsite.conf import app_settings
from orbsite.conf.app_settings import Persistence
from orbsite.models.clock import Clock
from orbsite.models.jobs import OPEN, Job, JobState
from orbsite.models.ledger import Reject, Run
from orbsite.models.retention import RetentionPolicy
from orbsite.models.statistics import Growth
from orbsite.operations.backup.prune import newest_backup
from orbsite.operations.statistics.disk import free_bytes
from orbsite.operations.statistics.figures import Figures, figures
from orbsite.storage.postgresql.replicas import Condition, conditions
from orbsite.storage.records.domain import Domain, registered

OPERATIONS = ("migrate", "import", "verify", "compact", "rollback")
"""The operations whose last runs the dashboard reads."""
MOST_RUNS, MOST_JOBS, MOST_POLICIES, MOST_REJECTS = 10, 60, 100, 1000
DAYS_OF_GROWTH = 90


@dataclass(frozen=True, kw_only=True)
class DashboardSnapshot:
    """The dashboard's data at one moment, limited to the data that the user may view."""

    now: datetime
    mode: Persistence
    is_ours: bool
    """Whether the user may view the state of the server: disk, backups and settings."""
    has_own_workers: bool
    """Whether jobs are queued for separate worker processes."""
    figures: list[Figures] = field(default_factory=list)
    policies: list[RetentionPolicy] = field(default_factory=list)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    """The last runs of each operation, newest first."""
    open_jobs: list[Job] = field(default_factory=list)
    ended_jobs: list[Job] = field(default_factory=list)
    """The last finished jobs, newest first."""
    last_check: Job | None = None
    """The last completed file check, read only if a file is too large to be checked by a page."""
    growth: list[Growth] | None = None
    """The daily statistics, oldest first; None if the user may not view them."""
    rejects: Counter[str] = field(default_factory=Counter)
    """The number of open rejects by domain; counting stops at 1,001 rejects."""
    backup: datetime | None = None
    """When the newest backup was made."""
    free: int | None = None
    """The free disk space in bytes."""
    clock: Clock | None = None
    replicas: dict[str, Condition] = field(default_factory=dict)
    """The condition of each read replica of the database, by its alias."""

    is_one_file: bool = False
    """Whether the database is one file, so that the domains have no sizes of their own."""

    @property
    def in_use(self) -> str:
        """The store that the charts show: `file` or `sql`."""
        return "file" if self.mode is Persistence.FILE else "sql"


def look(sees: Callable[[type[Any]], bool], now: datetime) -> DashboardSnapshot:
    """Return the snapshot; it leaves out the data of the models for which `sees` returns False."""
    domains = [domain for domain in registered() if all(map(sees, domain.models.values()))]
    visible = {model: sees(model) for model in (Run, Job, RetentionPolicy, Reject, Growth)}
    policies = list(RetentionPolicy.objects.all()[:MOST_POLICIES])
    parts: dict[str, Any] = {"figures": figures(domains, policies, now)}
    if visible[RetentionPolicy]:
        parts |= {"policies": policies, "clock": Clock.objects.first()}
    if visible[Run]:
        parts |= {"runs": _runs(), "backup": newest_backup(app_settings.backup_directory()), "free": _free()}
        parts["replicas"] = conditions()
    if visible[Job]:
        is_large = any(store.issues is None for store in parts["figures"])
        parts |= _jobs() | ({"last_check": _last_check()} if is_large else {})
    if visible[Growth]:
        parts["growth"] = _growth(domains, now)
    if visible[Reject]:
        parts["rejects"] = _rejects(domains)
    backend = getattr(settings, "TASKS", {}).get("default", {}).get("BACKEND", "ImmediateBackend")
    return DashboardSnapshot(
        now=now,
        mode=app_settings.persistence(),
        is_ours=visible[Run],
        is_one_file=connection.vendor == "sqlite",
        has_own_workers=not backend.endswith("ImmediateBackend"),
        **parts,
    )


def _runs() -> dict[str, list[Run]]:
    return {
        name: list(Run.objects.filter(operation=name).defer("cursor").order_by("-id")[:MOST_RUNS])
        for name in OPERATIONS
    }


def _jobs() -> dict[str, list[Job]]:
    rows = Job.objects.defer("result", "arguments").order_by("-id")
    return {
        "open_jobs": list(rows.filter(state__in=OPEN)[:MOST_JOBS]),
        "ended_jobs": list(rows.filter(finished_at__isnull=False)[:MOST_JOBS]),
    }


def _last_check() -> Job | None:
    return Job.objects.filter(operation="check", state=JobState.DONE).order_by("-id").first()


def _growth(domains: Iterable[Domain], now: datetime) -> list[Growth]:
    since = now.astimezone(UTC).date() - timedelta(days=DAYS_OF_GROWTH)
    names = [domain.name for domain in domains]
    rows = Growth.objects.filter(day__gte=since, domain__in=names).order_by("day", "domain", "store")
    return list(rows.only("day", "domain", "store", "size"))


def _rejects(domains: Iterable[Domain]) -> Counter[str]:
    names = [domain.name for domain in domains]
    rows = Reject.objects.filter(domain__in=names, settled_by=None).order_by()
    return Counter(rows.values_list("domain", flat=True)[: MOST_REJECTS + 1])


def _free() -> int | None:
    try:
        return free_bytes()
    except OSError:
        return None
