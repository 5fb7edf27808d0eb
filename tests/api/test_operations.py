"""Operations over HTTP: figures at once, long work as jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orbsite.api.operations import OFFERED
from orbsite.models.api_tokens import Token
from orbsite.models.bulk_migrations import BulkDirectory, BulkMigration, identity_of
from orbsite.models.jobs import Job, JobState
from orbsite.operations.jobs import catalog
from tests.api.conftest import Caller, make_token, refused

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/operations"


@pytest.fixture
def files(files: Path, settings: Any, tmp_path: Path) -> Path:
    settings.ORB_DATA_DIR, settings.ORB_PERSISTENCE = files, "file"
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    return files


@pytest.mark.usefixtures("files")
def test_figures_are_told_at_once(operator: Caller) -> None:
    told = operator.get(f"{ROOT}/stats").json()
    assert told["domains"]["te"]["reflections"] == 142
    assert told["ok"] is True


@pytest.mark.parametrize("name", ["validate", "migrate", "verify", "compact", "check", "export", "backup"])
@pytest.mark.usefixtures("files")
def test_long_work_is_a_job_to_follow(admin: Caller, name: str, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = admin.post(f"{ROOT}/{name}", {"only": ["te"]})
    assert answer.status_code == 202
    started = answer.json()
    assert (started["operation"], started["state"], started["arguments"]) == (name, "queued", {"only": ["te"]})
    assert answer["Location"] == f"{ROOT}/jobs/{started['id']}"
    job = admin.get(answer["Location"]).json()
    assert job["state"] == "done", job
    assert job["finishedAt"].endswith("Z")
    assert next(iter(job["result"]["domains"])) == "te"
    assert "luna" not in job["result"]["domains"]
    assert Job.objects.get().actor == f"token {Token.objects.get().prefix}"


@pytest.mark.usefixtures("files")
def test_a_migration_is_undone_by_its_run(admin: Caller, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = admin.post(f"{ROOT}/migrate", {"backup": False})
    run = admin.get(answer["Location"]).json()["result"]["run"]
    with django_capture_on_commit_callbacks(execute=True):
        answer = admin.post(f"{ROOT}/rollback", {"run": run})
    assert admin.get(answer["Location"]).json()["state"] == "done"


@pytest.mark.parametrize(
    ("name", "body"),
    [("migrate", {"unknown": 1}), ("migrate", {"dry_run": "yes"}), ("migrate", []), ("migrate", None),
     ("rollback", {}), ("validate", {"only": ["nothing"]}), ("compact", {"force": 1})],
)  # fmt: skip
def test_arguments_that_are_wrong_start_nothing(admin: Caller, name: str, body: Any) -> None:
    told = refused(admin.post(f"{ROOT}/{name}", body), 400, "invalid")
    assert told["errors"]
    assert not Job.objects.exists()


def test_the_same_key_starts_one_job(operator: Caller) -> None:
    first, second = (operator.post(f"{ROOT}/validate", {}, Idempotency_Key="k") for _ in range(2))
    assert first.json() == second.json()
    assert first["Location"] == second["Location"]
    assert Job.objects.count() == 1


def test_a_job_that_waits_is_cancelled_and_one_that_ended_is_not(operator: Caller) -> None:
    job = Job.objects.create(operation="validate", created_at=datetime.now(UTC))
    address = f"{ROOT}/jobs/{job.pk}"
    cancelled = operator("POST", f"{address}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    done = Job.objects.create(operation="validate", created_at=datetime.now(UTC), state=JobState.DONE)
    refused(operator("POST", f"{ROOT}/jobs/{done.pk}/cancel"), 409, "conflict")
    refused(operator("POST", f"{ROOT}/jobs/{done.pk + 1}/cancel"), 404)
    refused(operator.get(f"{ROOT}/jobs/{done.pk + 1}"), 404)
    refused(operator.get(f"{ROOT}/jobs/{2**70}"), 404)


@pytest.mark.parametrize("path", ["stats", "jobs/1", *OFFERED])
def test_operations_ask_for_their_own_scope(path: str) -> None:
    method, body = ("POST", {}) if path in OFFERED else ("GET", None)
    for scopes in (["read"], ["write"], ["read", "write"]):
        refused(Caller(make_token(*scopes, every_user=True))(method, f"{ROOT}/{path}", body), 403, "forbidden")
    refused(Caller()(method, f"{ROOT}/{path}", body), 401)


def test_a_bulk_migration_tells_how_far_its_directories_are(operator: Caller) -> None:
    bulk = BulkMigration.objects.create(**identity_of(Path("/data")), workers=2, created_at=datetime.now(UTC))
    for name, state, read in (("a", "done", 3), ("b", "done", 4), ("c", "failed", 0)):
        BulkDirectory.objects.create(bulk=bulk, **identity_of(Path(f"/data/{name}")), state=state, read=read)
    assert operator.get(f"{ROOT}/bulk-migrations/{bulk.pk}").json() == {
        "id": bulk.pk,
        "workers": 2,
        "directories": {"all": 3, "waiting": 0, "running": 0, "done": 2, "failed": 1},
        "read": 7,
        "written": 0,
        "problems": 0,
    }
    for number in (bulk.pk + 1, 2**63):
        refused(operator.get(f"{ROOT}/bulk-migrations/{number}"), 404)


def test_what_is_offered_is_known_to_workers() -> None:
    assert {"validate", "migrate", "verify", "rollback", "compact", "export"} <= set(OFFERED) <= set(catalog.OPERATIONS)
