"""Enqueues jobs for the workers with Django's Tasks framework.

Where the queue is a table of the same database, a job and its task are committed together. Any other queue gets the
task after the job is committed. If the process dies in between, or the queue cannot be reached, maintenance enqueues
the job later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.apps import apps
from django.db import router, transaction
from django.utils.module_loading import import_string

from orbsite.models.jobs import Job, JobState

logger = logging.getLogger(__name__)

TASK = "orbsite.operations.jobs.jobs.run_job"
_TASKS_OF_THE_DATABASE = "django_tasks_database"
_READY = "READY"


def hand_over(job: Job, now: Callable[[], datetime]) -> None:
    """Enqueue a job for the workers, at the latest when the transaction is committed."""
    if _is_in_our_database():
        _enqueue(job.pk, now)
    else:
        transaction.on_commit(partial(_enqueue_or_leave, job.pk, now))


def hand_over_lost_jobs(now: Callable[[], datetime], older_than: timedelta) -> int:
    """Enqueue the waiting jobs that no queue has, and return their number."""
    waiting = Job.objects.filter(state=JobState.QUEUED, created_at__lt=now() - older_than)
    lost = [job for job in waiting.only("pk", "enqueued_at") if _is_lost(job)]
    return sum(_enqueue_or_leave(job.pk, now) for job in lost)


def _enqueue(number: int, now: Callable[[], datetime]) -> None:
    import_string(TASK).enqueue(number)
    Job.objects.filter(pk=number).update(enqueued_at=now())


def _enqueue_or_leave(number: int, now: Callable[[], datetime]) -> bool:
    """Enqueue a committed job, and return whether that succeeded. Otherwise maintenance tries again."""
    try:
        _enqueue(number, now)
    except Exception as problem:  # noqa: BLE001 -- any queue may be in use, with errors of its own
        logger.error("job %s could not be enqueued (%s); maintenance tries again", number, type(problem).__name__)  # noqa: TRY400 -- a traceback may hold texts
        return False
    return True


def _is_lost(job: Job) -> bool:
    """Tell whether no queue has a job, because none took it or a worker died before the job began."""
    if not _is_in_our_database():
        return job.enqueued_at is None
    arguments = {"args": [job.pk], "kwargs": {}}
    return not _tasks().objects.filter(status=_READY, task_path=TASK, args_kwargs=arguments).exists()


def _is_in_our_database() -> bool:
    """Tell whether tasks are stored in the database that holds the jobs."""
    if not apps.is_installed("django_tasks_db"):
        return False
    backend = import_string("django_tasks_db.DatabaseBackend")
    is_ours: bool = isinstance(import_string(TASK).get_backend(), backend)
    return is_ours and router.db_for_write(_tasks()) == router.db_for_write(Job)


def _tasks() -> Any:
    return apps.get_model(_TASKS_OF_THE_DATABASE, "DBTaskResult")
