"""Everything that the dashboard looks at, looked up once; a store or a part that cannot be read is told of as such."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from orbsite.admin.base.permissions import may_see
from orbsite.admin.dashboard.figures import Figures, figures
from orbsite.conf import app_settings
from orbsite.conf.app_settings import Persistence
from orbsite.models.clock import Clock
from orbsite.models.jobs import Job
from orbsite.models.ledger import Reject, Run
from orbsite.models.retention import RetentionPolicy
from orbsite.models.statistics import Growth
from orbsite.operations.backup.prune import newest_backup
from orbsite.operations.statistics.disk import free_bytes
from orbsite.storage.records.domain import Domain, registered

OPERATIONS = ("migrate", "import", "verify", "compact", "rollback")
"""Whose last runs are looked at."""
MOST_RUNS, MOST_JOBS, MOST_POLICIES, MOST_REJECTS = 10, 60, 100, 1000
DAYS_OF_GROWTH = 90


@dataclass(frozen=True, kw_only=True)
class DashboardSnapshot:
    """What there is to be seen at one moment by one person: what they may not see is not in it."""

    now: datetime
    mode: Persistence
    is_ours: bool
    """Whether the person sees how the machine is: disk, backups, settings."""
    has_own_workers: bool
    """Whether long work waits for workers."""
    figures: list[Figures] = field(default_factory=list)
    policies: list[RetentionPolicy] = field(default_factory=list)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    """The last runs of each operation, the newest first."""
    open_jobs: list[Job] = field(default_factory=list)
    ended_jobs: list[Job] = field(default_factory=list)
    """The newest first."""
    last_check: Job | None = None
    """The last job that has looked for damage, where files are too large for a page to look at them."""
    growth: list[Growth] | None = None
    """The oldest first; None for those who may not see it."""
    rejects: Counter[str] = field(default_factory=Counter)
    """How many are open, by domain; no more than a thousand are counted."""
    backup: datetime | None = None
    """When the newest one was made."""
    free: int | None = None
    clock: Clock | None = None

    is_one_file: bool = False
    """Whether all of SQL is one file, whose size belongs to no domain."""

    @property
    def in_use(self) -> str:
        """Which of the two stores is the one to plot."""
        return "file" if self.mode is Persistence.FILE else "sql"


def look(user: Any, now: datetime) -> DashboardSnapshot:
    """Return what somebody may see."""
    domains = [domain for domain in registered() if sees(user, domain)]
    seen = {model: may_see(user, model) for model in (Run, Job, RetentionPolicy, Reject, Growth)}
    policies = list(RetentionPolicy.objects.all()[:MOST_POLICIES])
    found: dict[str, Any] = {"figures": figures(domains, policies, now)}
    if seen[RetentionPolicy]:
        found |= {"policies": policies, "clock": Clock.objects.first()}
    if seen[Run]:
        found |= {"runs": _runs(), "backup": newest_backup(app_settings.backup_directory()), "free": _free()}
    if seen[Job]:
        is_large = any(one.issues is None for one in found["figures"])
        found |= _jobs() | ({"last_check": _last_check()} if is_large else {})
    if seen[Growth]:
        found["growth"] = _growth(domains, now)
    if seen[Reject]:
        found["rejects"] = _rejects(domains)
    backend = settings.TASKS["default"]["BACKEND"]
    return DashboardSnapshot(
        now=now,
        mode=app_settings.persistence(),
        is_ours=seen[Run],
        is_one_file=connection.vendor == "sqlite",
        has_own_workers=not backend.endswith("ImmediateBackend"),
        **found,
    )


def sees(user: Any, domain: Domain) -> bool:
    """Tell whether somebody may see all rows of a domain, and so how many there are."""
    return all(may_see(user, model) for model in domain.models.values())


def _runs() -> dict[str, list[Run]]:
    return {
        name: list(Run.objects.filter(operation=name).defer("cursor").order_by("-id")[:MOST_RUNS])
        for name in OPERATIONS
    }


def _jobs() -> dict[str, list[Job]]:
    rows = Job.objects.defer("result", "arguments").order_by("-id")
    waiting = (Job.State.QUEUED, Job.State.RUNNING)
    return {
        "open_jobs": list(rows.filter(state__in=waiting)[:MOST_JOBS]),
        "ended_jobs": list(rows.filter(finished_at__isnull=False)[:MOST_JOBS]),
    }


def _last_check() -> Job | None:
    return Job.objects.filter(operation="check", state=Job.State.DONE).order_by("-id").first()


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
