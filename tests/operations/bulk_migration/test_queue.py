from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orbsite.models.bulk_migrations import BulkDirectory, BulkMigration
from orbsite.models.jobs import Job
from orbsite.operations.bulk_migration.begin import Options, begin
from orbsite.operations.bulk_migration.queue import set_workers
from orbsite.operations.jobs import jobs
from orbsite.operations.scheduling.maintenance import maintain
from orbsite.operations.workers.workers import STALE_AFTER
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError

pytestmark = pytest.mark.django_db
Plant = Callable[..., Path]


@pytest.fixture
def bulk(root: Path, plant: Plant) -> BulkMigration:
    for name in "abc":
        plant(name)
    return begin(root, Options(), now=utc_now)[0]


def later() -> Any:
    return utc_now() + 2 * STALE_AFTER


def added(**how: Any) -> int:
    section = maintain(now=utc_now, **how).domains.get("maintenance")
    return 0 if section is None else section.facts.get("bulk_migration_jobs_added", 0)


def test_a_few_jobs_work_on_many_directories(bulk: BulkMigration, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        assert set_workers(bulk, 2, now=utc_now, actor="root") == 2
    assert [(job.state, job.operation, job.actor) for job in Job.objects.all()] == [("done", "migrate", "root")] * 2
    assert Job.objects.last().result["domains"]["directories"]["done"] == 3  # type: ignore[union-attr,index]
    assert set_workers(bulk, 3, now=utc_now) == 3


def test_more_workers_are_added_and_none_stops_them(bulk: BulkMigration) -> None:
    assert set_workers(bulk, 2, now=utc_now) == 2
    assert set_workers(bulk, 3, now=utc_now) == 1
    Job.objects.filter(pk=Job.objects.first().pk).update(state="running")  # type: ignore[union-attr]
    assert set_workers(bulk, 0, now=utc_now) == 0
    assert sorted(Job.objects.values_list("state", "wants_to_stop")) == [
        ("cancelled", True),
        ("cancelled", True),
        ("running", True),
    ]
    for number in (-1, 1001):
        with pytest.raises(OrbError, match=f"{number} is no number of workers from 0 to 1000"):
            set_workers(bulk, number, now=utc_now)


def test_maintenance_replaces_the_jobs_of_dead_workers_while_directories_are_left(bulk: BulkMigration) -> None:
    set_workers(bulk, 2, now=utc_now)
    assert added() == 0
    old = utc_now() - timedelta(hours=1)
    Job.objects.update(state="running", heartbeat=old)
    assert added() == 2
    assert sorted(Job.objects.values_list("state", flat=True)) == ["failed", "failed", "queued", "queued"]
    Job.objects.filter(state="queued").update(state="done")
    BulkDirectory.objects.update(state="done")
    BulkDirectory.objects.filter(name__endswith="a").update(state="running", worker="x", heartbeat=utc_now())
    assert added() == 0
    BulkDirectory.objects.update(heartbeat=old)
    assert added() == 1
    set_workers(bulk, 0, now=utc_now)
    assert added() == 0


def test_a_cancelled_job_leaves_its_directory_to_others(bulk: BulkMigration, monkeypatch: pytest.MonkeyPatch) -> None:
    job = jobs.start("migrate", {"bulk": bulk.pk}, now=utc_now)
    jobs.cancel(job.pk, now=utc_now)
    assert not jobs.execute(job.pk, now=utc_now)
    assert set(BulkDirectory.objects.values_list("state", "tries")) == {("waiting", 0)}


@pytest.mark.parametrize("more", [{"resume": True}, {"incremental": True}, {"only_rejected": True}, {"only": ["te"]}])
def test_a_job_takes_the_options_of_the_bulk_migration_and_no_others(bulk: BulkMigration, more: Any) -> None:
    with pytest.raises(OrbError, match="a bulk migration has arguments of its own"):
        jobs.start("migrate", {"bulk": bulk.pk, **more}, now=utc_now)
