"""Jobs reach the workers: with the job where the queue is in the same database, else once it is committed, or later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django_tasks_db.models import DBTaskResult

from orbsite.models.jobs import Job
from orbsite.operations.jobs import jobs
from orbsite.operations.scheduling.maintenance import maintain
from orbsite.operations.workers import queue

pytestmark = pytest.mark.django_db
BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = BEGIN + timedelta(hours=1)
GRACE = timedelta(minutes=5)
DATABASE = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}


def now() -> datetime:
    return BEGIN


def later() -> datetime:
    return LATER


@pytest.fixture
def tasks_in_our_database(settings: Any) -> None:
    settings.TASKS = DATABASE


@pytest.fixture
def broken_queue(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the queue take nothing, until the function that is returned is called."""

    def enqueue(number: int, moment: Any) -> None:
        raise ConnectionError("the queue is out of reach")

    monkeypatch.setattr(queue, "_enqueue", enqueue)
    return monkeypatch.undo


@pytest.mark.usefixtures("tasks_in_our_database")
def test_a_job_and_its_task_are_committed_together(django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        job = jobs.start("validate", {}, now=now)
        assert DBTaskResult.objects.get().args_kwargs == {"args": [job.pk], "kwargs": {}}
    assert not callbacks
    with transaction.atomic():
        jobs.start("check", {}, now=now)
        transaction.set_rollback(True)
    assert (Job.objects.count(), DBTaskResult.objects.count()) == (1, 1)


@pytest.mark.usefixtures("tasks_in_our_database")
def test_maintenance_hands_over_a_job_whose_task_is_gone() -> None:
    kept, lost, young, taken = (
        jobs.start("validate", {"only": only}, now=moment)
        for only, moment in ((["te"], now), (["luna"], now), (None, later), (["luna", "te"], now))
    )
    for job in (lost, young):
        DBTaskResult.objects.filter(args_kwargs={"args": [job.pk], "kwargs": {}}).delete()
    DBTaskResult.objects.filter(args_kwargs={"args": [taken.pk], "kwargs": {}}).update(status="RUNNING")
    assert queue.hand_over_lost_jobs(later, GRACE) == 2, "of one the task is gone, the worker of the other died with it"
    assert queue.hand_over_lost_jobs(later, GRACE) == 0
    tasks = sorted(row["args"][0] for row in DBTaskResult.objects.values_list("args_kwargs", flat=True))
    assert tasks == sorted([kept.pk, lost.pk, taken.pk, taken.pk])


@pytest.mark.django_db(transaction=True)
def test_a_job_that_no_queue_took_is_run_once_maintenance_finds_it(broken_queue: Callable[[], None]) -> None:
    job = jobs.start("measure", {}, now=now)
    assert queue.hand_over_lost_jobs(later, GRACE) == 0, "the queue is still out of reach"
    broken_queue()
    assert Job.objects.get(pk=job.pk).state == "queued"
    report = maintain(now=later)
    assert report.domains["maintenance"].facts["jobs_queued_again"] == 1
    job.refresh_from_db()
    assert job.state == "done"
    assert job.enqueued_at == LATER
    assert "maintenance" not in maintain(now=later).domains, "there is nothing more to tell"


@pytest.mark.django_db(transaction=True)
def test_a_job_that_a_queue_has_taken_is_not_handed_over_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "execute", lambda *_, **__: False)  # the queue has it, and no worker has begun
    job = jobs.start("validate", {}, now=now)
    job.refresh_from_db()
    assert (job.state, job.enqueued_at) == ("queued", BEGIN)
    assert queue.hand_over_lost_jobs(later, GRACE) == 0
