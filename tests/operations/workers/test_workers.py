"""Jobs that are started on the admin's page, and done by the worker command over a real database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.hosts import do, host, manage
from tests.support.postgresql import Unavailable
from tests.support.time_limits import time_limit
from tests.torture.databases import Database, migrated

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
BATCH = ("db_worker", "--batch", "--no-reload", "--no-startup-delay", "--verbosity", "0")
VALIDATE = {"ALLOWED_HOSTS": "testserver", "PAGE": "operations/validate/"}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(migrated(request.param, tmp_path))
        except Unavailable as problem:
            pytest.skip(str(problem))
        yield found


def _job(database: Database) -> dict[str, Any]:
    return database.query("SELECT * FROM orb_jobs ORDER BY id")[-1]


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + time_limit(60)
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_job_of_the_admin_is_done_by_the_worker(database: Database, tmp_path: Path, sample: Path) -> None:
    place = {"ORB_DATA_DIR": str(sample), "ORB_BACKUP_DIR": str(tmp_path / "backups"), "ALLOWED_HOSTS": "testserver"}
    for page, number in (("operations/migrate/", 0), ("jobs/1/apply/", 142)):
        started = do(database.address, tmp_path, "admin", PAGE=page, **place)
        assert (started.stdout, started.stderr) == ("302", "")
        assert (_job(database)["state"], _job(database)["actor"]) == ("queued", "root")
        assert database.query("SELECT count(*) AS n FROM te_reflections")[0]["n"] == 0
        worked = manage(database.address, *BATCH, **place)
        assert worked.returncode == 0, worked.stderr
        job = _job(database)
        assert (job["state"], job["progress"], job["error"]) == ("done", 229, "")
        assert database.query("SELECT count(*) AS n FROM te_reflections")[0]["n"] == number
    tasks = database.query("SELECT status FROM django_tasks_database_dbtaskresult")
    assert [row["status"] for row in tasks] == ["SUCCESSFUL"] * 2


def test_a_running_job_is_cancelled(database: Database, tmp_path: Path) -> None:
    do(database.address, tmp_path, "admin", **VALIDATE)
    with host(database.address, tmp_path, "work"):
        _until(lambda: _job(database)["progress"] > 0)
        assert _job(database)["state"] == "running"
        do(database.address, tmp_path, "cancel")
        _until(lambda: _job(database)["state"] != "running")
    job = _job(database)
    assert (job["state"], job["error"]) == ("cancelled", "it was stopped on request; the work done so far is kept")


def test_a_job_whose_worker_was_killed_is_failed_and_started_again(database: Database, tmp_path: Path) -> None:
    do(database.address, tmp_path, "admin", **VALIDATE)
    with host(database.address, tmp_path, "work") as worker:
        _until(lambda: _job(database)["progress"] > 0)
        worker.kill()
        worker.wait(time_limit(10))
    assert _job(database)["state"] == "running"
    time.sleep(1.1)
    told = manage(database.address, "run_orb_maintenance", "--stale-after", "1", "--format", "json")
    assert '"jobs_failed": 1' in told.stdout, told.stderr
    assert _job(database)["state"] == "failed"
    assert "start it again" in _job(database)["error"]
    assert do(database.address, tmp_path, "again").returncode == 0
    assert _job(database)["state"] == "queued"
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    worked = manage(database.address, *BATCH, ORB_DATA_DIR=str(data))
    assert (worked.returncode, _job(database)["state"]) == (0, "done"), worked.stderr
