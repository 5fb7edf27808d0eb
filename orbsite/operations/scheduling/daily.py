"""The daily tasks of maintenance: save statistics, and delete what has expired."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps

from orbsite.conf import app_settings
from orbsite.conf.app_settings import Persistence
from orbsite.models.idempotency import forget
from orbsite.models.jobs import Job
from orbsite.models.ledger import Change
from orbsite.models.retention import PolicyRun
from orbsite.operations.files import export_directories
from orbsite.operations.ledger.detached_partitions import drop_expired
from orbsite.operations.ledger.tombstones import REMOVALS
from orbsite.operations.scaling.partitions import add_partitions
from orbsite.operations.statistics.cutover_progress import note_progress
from orbsite.operations.statistics.daily import note_growth
from orbsite.operations.statistics.usage import forget_use
from orbsite.storage.records.domain import registered

_TASKS_OF_THE_DATABASE = "django_tasks_database"
_BATCH = 1000


def chores(now: Callable[[], datetime]) -> dict[str, int]:
    """Run the daily tasks, and return the number of rows added or removed by each. They can safely run twice."""
    noted = note_growth(now)
    before = now() - timedelta(days=app_settings.undo_days())
    ended = {"finished_at__lt": before}
    facts = {
        "growth_noted": noted,
        "tombstones_removed": _remove(Change.objects.filter(run__operation__in=REMOVALS, run__started_at__lt=before)),
        "partitions_dropped": drop_expired(registered(), before),
        "partitions_added": add_partitions(now(), registered()),
        "answers_removed": forget(now()),
        "exports_removed": _remove_exports(now()),
        "jobs_removed": _remove(Job.objects.filter(**ended)),
        "use_removed": forget_use(now()),
        "policy_runs_removed": _remove(PolicyRun.objects.filter(**ended)),
    }
    if app_settings.persistence() is not Persistence.SQL:  # a cut-over is ahead or under way
        facts["cutover_noted"] = note_progress(now)
    if apps.is_installed("django_tasks_db"):
        tasks = apps.get_model(_TASKS_OF_THE_DATABASE, "DBTaskResult")
        facts["tasks_removed"] = _remove(tasks._default_manager.filter(**ended))
    return facts


def _remove_exports(moment: datetime) -> int:
    days = app_settings.keep_exports_days()
    keep = None if days is None else timedelta(days=days)
    return export_directories.remove_expired(app_settings.backup_directory(), moment, keep)


def _remove(rows: Any) -> int:
    """Delete rows, one batch per transaction, and return their number."""
    number = 0
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:_BATCH]):
        rows.model._default_manager.filter(pk__in=keys).delete()
        number += len(keys)
    return number
