"""Jobs: long work is queued, runs once, tells how far it is, and stops where somebody wants it to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import InterfaceError

from orbsite.models.jobs import Job
from orbsite.operations.jobs import catalog, jobs
from orbsite.operations.progress import Progress, Stopped
from orbsite.operations.report import Report
from orbsite.operations.workers import heartbeat as heartbeats
from orbsite.operations.workers.heartbeat import MonitoredProgress, heartbeat
from orbsite.operations.workers.workers import brief, fail_stale_jobs
from orbsite.storage.errors import OrbError
from orbsite.storage.findings import error
from te.models import ReflectionRow
from tests.support.time_limits import time_limit

pytestmark = pytest.mark.django_db

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def now() -> datetime:
    return BEGIN


@pytest.fixture
def files(files: Path, settings: Any) -> Path:
    settings.ORB_DATA_DIR = files
    return files


@pytest.fixture
def doing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Progress], None]], None]:
    """Let the operation "validate" do what a test wants."""

    def choose(act: Callable[[Progress], None]) -> None:
        def run(self: Any, place: Any) -> Report:
            act(place.progress)
            return Report()

        monkeypatch.setattr(catalog.Validate, "run", run)

    return choose


def test_a_job_runs_once_it_is_committed(files: Path, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        job = jobs.start("migrate", {"only": ["te"], "backup": False}, now=now, actor="root")
        assert Job.objects.get(pk=job.pk).state == "queued"
    job.refresh_from_db()
    assert (job.state, job.progress, job.expected, job.error) == ("done", 142, 142, "")
    assert job.result["domains"]["te"]["new"] == ReflectionRow.objects.count() == 142
    assert (job.actor, job.created_at) == ("root", BEGIN)


@pytest.mark.parametrize(
    "name", [name for name in catalog.OPERATIONS if name not in ("rollback", "preview", "import", "erase")]
)
def test_every_operation_can_be_asked_for(files: Path, name: str) -> None:
    job = jobs.start(name, {}, now=now)
    assert jobs.execute(job.pk, now=now)
    job.refresh_from_db()
    assert (job.state, job.error) == ("done", "")


@pytest.mark.parametrize(
    ("operation", "arguments", "told"),
    [
        ("sweep", {}, "there is no operation 'sweep'; there are migrate"),
        ("migrate", {"dryrun": True}, "dryrun"),
        ("migrate", {"dry_run": 1}, r"\$.dry_run"),
        ("migrate", {"only": ["mars"]}, "there is no domain 'mars'"),
        ("rollback", {}, "run"),
        ("rollback", {"run": "1"}, r"\$.run"),
        ("verify", [], "arguments of verify are wrong"),
        ("export", {"to": "/etc"}, "it takes only, user"),
    ],
)
def test_what_no_operation_takes_is_refused_before_it_is_queued(operation: str, arguments: Any, told: str) -> None:
    with pytest.raises(OrbError, match=told):
        jobs.start(operation, arguments, now=now)
    assert not Job.objects.exists()


def test_a_job_that_is_delivered_twice_runs_once(doing: Any) -> None:
    runs: list[int] = []
    doing(lambda progress: runs.append(1))
    job = jobs.start("validate", {}, now=now)
    assert [jobs.execute(job.pk, now=now), jobs.execute(job.pk, now=now), jobs.execute(99, now=now)] == [
        True,
        False,
        False,
    ]
    assert runs == [1]


def test_an_error_is_told_and_an_unexpected_one_without_its_text(doing: Any) -> None:
    def fail(problem: Exception) -> Callable[[Progress], None]:
        def act(progress: Progress) -> None:
            raise problem

        return act

    doing(fail(OrbError("run this next")))
    told = jobs.start("validate", {}, now=now)
    jobs.execute(told.pk, now=now)
    doing(fail(ValueError("what ana said")))
    untold = jobs.start("validate", {}, now=now)
    jobs.execute(untold.pk, now=now)
    told.refresh_from_db()
    untold.refresh_from_db()
    assert (told.state, told.error) == ("failed", "run this next")
    assert untold.state == "failed"
    assert "ana" not in untold.error
    assert "unexpected ValueError in test_jobs.py" in untold.error


def test_what_stops_a_worker_fails_its_job(doing: Any) -> None:
    def leave(progress: Progress) -> None:
        raise SystemExit(1)

    doing(leave)
    job = jobs.start("validate", {}, now=now)
    with pytest.raises(SystemExit):
        jobs.execute(job.pk, now=now)
    job.refresh_from_db()
    assert (job.state, job.error) == ("failed", "its worker was stopped (SystemExit); start it again")


def test_a_job_that_waits_is_cancelled_at_once() -> None:
    job = jobs.start("validate", {}, now=now)
    assert jobs.cancel(job.pk, now=now).state == "cancelled"
    assert not jobs.execute(job.pk, now=now)
    assert jobs.cancel(job.pk, now=now).state == "cancelled"


def test_a_job_that_runs_is_told_to_stop(doing: Any) -> None:
    doing(lambda progress: jobs.cancel(Job.objects.get().pk, now=now))
    job = jobs.start("validate", {}, now=now)
    jobs.execute(job.pk, now=now)
    job.refresh_from_db()
    assert (job.state, job.wants_to_stop) == ("done", True)
    with pytest.raises(OrbError, match="there is no job 99"):
        jobs.cancel(99, now=now)


def test_a_job_that_has_ended_is_not_cancelled(doing: Any) -> None:
    doing(lambda progress: None)
    job = jobs.start("validate", {}, now=now)
    jobs.execute(job.pk, now=now)
    with pytest.raises(OrbError, match="is done already"):
        jobs.cancel(job.pk, now=now)


def test_a_stale_job_is_failed_and_may_be_started_again(doing: Any) -> None:
    doing(lambda progress: None)
    job = jobs.start("validate", {"only": ["te"]}, now=now, actor="ana")
    with pytest.raises(OrbError, match="is queued; cancel it"):
        jobs.start_again(job.pk, now=now)
    Job.objects.filter(pk=job.pk).update(state="running", heartbeat=BEGIN, worker="dead")
    assert fail_stale_jobs(BEGIN + MINUTE, MINUTE) == 0
    assert fail_stale_jobs(BEGIN + 2 * MINUTE, MINUTE) == 1
    job.refresh_from_db()
    assert job.state == "failed"
    assert "dead" in job.error
    again = jobs.start_again(job.pk, now=now, actor="bo")
    assert (again.operation, again.arguments, again.actor) == ("validate", {"only": ["te"]}, "bo")
    jobs.execute(again.pk, now=now)
    again.refresh_from_db()
    assert again.state == "done"


def test_whoever_was_taken_for_dead_does_not_overwrite_how_it_ended(doing: Any) -> None:
    doing(lambda progress: fail_stale_jobs(BEGIN + MINUTE, timedelta(0)) or None)
    job = jobs.start("validate", {}, now=now)
    jobs.execute(job.pk, now=now)
    job.refresh_from_db()
    assert job.state == "failed"


def test_a_row_keeps_the_first_of_many_findings() -> None:
    report = Report()
    report.section("te", ()).findings = [error(f"$[{n}]", "bad") for n in range(30)]
    kept = brief(report, most=20)
    assert (len(kept["findings"]), kept["more_findings"]) == (20, 10)
    assert "more_findings" not in brief(report, most=30)


def _beaten(watched: MonitoredProgress, act: Callable[[], None], answers: bool = False) -> list[datetime]:
    """Do something while a fast heartbeat soon asks it to end."""
    beats: list[datetime] = []

    def beat(moment: datetime, _: MonitoredProgress, /) -> bool:
        beats.append(moment)
        return answers

    with heartbeat(watched, beat, now, seconds=0.001):
        act()
    return beats


def test_a_heartbeat_goes_on_with_another_connection_once_its_own_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[int] = []
    closed: list[int] = []
    enough = threading.Event()

    def beat(*_: Any) -> bool:
        beats.append(len(closed))
        if len(beats) == 1:
            raise InterfaceError("the connection is closed")
        enough.set()
        return True

    monkeypatch.setattr(heartbeats, "connection", SimpleNamespace(close=lambda: closed.append(1)))
    with heartbeat(MonitoredProgress(), beat, now, seconds=0.001):
        assert enough.wait(time_limit(10))
    assert beats[:2] == [0, 1]


def test_an_operation_that_does_not_look_ends_at_its_next_step() -> None:
    watched = MonitoredProgress()

    def work() -> None:
        while True:
            watched(1)

    with pytest.raises(Stopped):
        _beaten(watched, work)
    assert watched.done > 0


def test_an_operation_that_looks_is_left_to_it() -> None:
    watched = MonitoredProgress()

    def work() -> None:
        with watched.heeded():
            while not watched.is_stopping:
                watched(1)
            watched(1)

    assert _beaten(watched, work)
    with pytest.raises(Stopped):
        watched(1)


def test_whoever_stands_behind_is_told_and_heard() -> None:
    class Under(Progress):
        told = 0

        def __call__(self, records: int) -> None:
            self.told += records

    under = Under()
    watched = MonitoredProgress(under)
    watched.expect(5)
    watched(2)
    assert (under.told, watched.done, watched.expected, watched.is_stopping) == (2, 2, 5, False)
    under.is_stopping = True
    assert watched.is_stopping
