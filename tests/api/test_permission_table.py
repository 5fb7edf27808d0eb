"""The table in docs/permissions.md: it is what the code declares, and each of its cells is what a token is answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orbsite.models.api_tokens import Token
from orbsite.models.bulk_migrations import BulkMigration, identity_of
from orbsite.models.jobs import Job
from orbsite.models.retention import RetentionPolicy
from orbsite.operations.jobs import jobs
from orbsite.storage.clock import utc_now
from tests.api.conftest import Caller, make_token
from tests.api.permission_table import PAGE, REACHES, SCOPES, YES, Line, cells, lines, page
from tests.api.test_matrix import PLACES, PROFILE, REFLECTION, ROWS

NOW = datetime.now(UTC)
CELLS = cells()
LINES = {str(line): line for line in lines()}


def test_the_page_is_what_the_code_declares() -> None:
    assert PAGE.read_text() == page(), "run make permissions"


def test_the_table_has_a_cell_for_every_request_scope_and_reach() -> None:
    assert set(CELLS) == {(line, scope, reach) for line in LINES for scope in SCOPES for reach in REACHES}
    assert {(line.method, line.path) for line in LINES.values()} == set(ROWS)


def test_the_declarations_are_what_is_meant() -> None:
    for (method, path), row in ROWS.items():
        needed, needs_every_user, _ = Line(method, path).needs()
        assert needed == row.scope, (method, path)
        assert needs_every_user == (row.reach == "every" or (path.endswith("/export") and "{user}" not in path))


@pytest.fixture
def places(settings: Any, tmp_path: Path, db: None) -> dict[str, str]:
    """Something of ana's at every address."""
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = "sql", tmp_path / ".orb-data"
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    caller = Caller(make_token("write", users=["ana"]))
    caller.put("/api/v1/users/ana/profiles/mars", PROFILE)
    caller.put("/api/v1/users/ana/active-mode", {"modeId": "mars"})
    caller.post("/api/v1/users/ana/reflections", REFLECTION)
    policy = RetentionPolicy.objects.create(name="p", domain="te", rules={"max_age_days": 1})
    job = Job.objects.create(operation="export", arguments={"user": "ana"}, created_at=NOW)
    bulk = BulkMigration.objects.create(**identity_of(tmp_path), created_at=NOW)
    return PLACES | {"job": str(job.pk), "policy": str(policy.pk), "bulk": str(bulk.pk)}


def _ask(caller: Caller, line: Line, places: dict[str, str]) -> Any:
    row = ROWS[line.method, line.path]
    body = row.body
    if line.operation is not None:
        given = {"user": "ana", "policy": int(places["policy"]), "run": 1}
        required = {"run": 1} if line.operation == "rollback" else {}
        body = required | {name: given.get(name, True) for name in line.arguments}
    return caller(line.method, line.path.format(**places), body, kind=row.kind)


@pytest.mark.parametrize(("request_line", "scope", "reach"), list(CELLS), ids=str)
def test_a_cell_is_what_a_token_is_answered(request_line: str, scope: str, reach: str, places: dict[str, str]) -> None:
    line, told = LINES[request_line], CELLS[request_line, scope, reach]
    users = {"own": {"users": ["ana", "cy"]}, "other": {"users": ["bo", "cy"]}, "every": {"every_user": True}}[reach]
    caller = Caller(make_token(scope, **users))
    if reach == "own":
        Job.objects.filter(pk=places["job"]).update(token=Token.objects.latest("pk"))
    before = Job.objects.count()
    answer = _ask(caller, line, places)
    wanted = ROWS[line.method, line.path].status if told == YES else int(told)
    assert answer.status_code == wanted, b"".join(answer) if answer.streaming else answer.content
    if told != YES:
        assert Job.objects.count() == before
        assert b"canary-of-ana" not in answer.content


@pytest.mark.parametrize("request_line", LINES)
def test_no_request_is_answered_without_a_token_that_is_valid(request_line: str, places: dict[str, str]) -> None:
    expired, revoked = {"expires_at": NOW - timedelta(seconds=1)}, {"revoked_at": NOW}
    wrong = [None, "orb_00000000_wrong", *(make_token("admin", every_user=True, **one) for one in (expired, revoked))]
    before = Job.objects.count()
    for token in wrong:
        assert _ask(Caller(token), LINES[request_line], places).status_code == 401
    assert Job.objects.count() == before


def test_scopes_add_up(places: dict[str, str]) -> None:
    caller = Caller(make_token("read", "operate", users=["ana"]))
    assert caller.get("/api/v1/users/ana/profiles").status_code == 200
    assert caller.post("/api/v1/operations/export", {"user": "ana"}).status_code == 202
    assert caller.post("/api/v1/users/ana/profiles", {"modeId": "x"}).status_code == 403


def test_a_job_of_the_console_is_none_of_a_token_of_some_users(places: dict[str, str]) -> None:
    job = jobs.start("export", {"user": "ana"}, now=utc_now, actor="root")
    caller = Caller(make_token("admin", users=["ana"]))
    assert caller.get(f"/api/v1/operations/jobs/{job.pk}").status_code == 404
