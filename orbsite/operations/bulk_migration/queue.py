"""The jobs of the task queue that work on a bulk migration: a few, each of which takes directories until none waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from orbsite.models.bulk_migrations import BulkMigration
from orbsite.models.jobs import OPEN, Job, JobState
from orbsite.operations.bulk_migration import claims
from orbsite.operations.workers.queue import hand_over
from orbsite.storage.errors import OrbError

MOST_WORKERS = 1000
_OPERATION = "migrate"


def set_workers(bulk: BulkMigration, number: int, *, now: Callable[[], datetime], actor: str = "") -> int:
    """Set how many jobs work on a bulk migration, and return how many were added. Raises OrbError.

    With 0, its jobs end after their current transactions; the directories that they leave are resumed later.
    """
    if not 0 <= number <= MOST_WORKERS:
        raise OrbError(f"{number} is no number of workers from 0 to {MOST_WORKERS}")
    BulkMigration.objects.filter(pk=bulk.pk).update(workers=number)
    bulk.workers = number
    if number:
        added: int = _top_up(bulk, now, actor=actor, most=number)
        return added
    jobs = _jobs(bulk)
    jobs.filter(state=JobState.QUEUED).update(state=JobState.CANCELLED, finished_at=now(), wants_to_stop=True)
    jobs.filter(state=JobState.RUNNING).update(wants_to_stop=True)
    return 0


def replace_lost_workers(now: Callable[[], datetime], stale_after: timedelta) -> int:
    """Queue new jobs for bulk migrations whose jobs have ended while directories are left, and return their number."""
    added = 0
    for bulk in BulkMigration.objects.filter(workers__gt=0):
        left: int = claims.waiting_at(bulk, now()).order_by()[: bulk.workers].count()
        left += sum(1 for _ in claims.dead(bulk, now(), stale_after))
        added += _top_up(bulk, now, most=left)
    return added


@transaction.atomic
def _top_up(bulk: BulkMigration, now: Callable[[], datetime], *, actor: str = "", most: int) -> int:
    """Queue the jobs that are missing, up to `most`. The row's lock excludes other calls."""
    wanted = BulkMigration.objects.select_for_update().get(pk=bulk.pk).workers
    missing: int = max(0, min(wanted - _jobs(bulk).filter(wants_to_stop=False).count(), most))
    for _ in range(missing):
        job = Job.objects.create(operation=_OPERATION, arguments={"bulk": bulk.pk}, actor=actor, created_at=now())
        hand_over(job, now)
    return missing


def _jobs(bulk: BulkMigration) -> Any:
    """Return the jobs of a bulk migration that have not ended."""
    return Job.objects.filter(operation=_OPERATION, state__in=OPEN, arguments={"bulk": bulk.pk})
