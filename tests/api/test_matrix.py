"""Who may do what: every path and method of the OpenAPI document, tried by everybody. A new one needs a row here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from luna.domain import DOMAIN as LUNA
from orbsite import stores
from orbsite.models.api_tokens import Token
from orbsite.models.bulk_migrations import BulkMigration, identity_of
from orbsite.models.jobs import Job
from te.domain import DOMAIN as TE
from tests.api.conftest import Caller, make_token, refused

TOLD = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text())
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOW = datetime.now(UTC)
PROFILE = {"preferences": ["calm-ui"], "constraints": [], "updatedAt": "2024-01-01T00:00:00.000Z"}
REFLECTION = {"id": "r-1", "input": "canary-of-ana", "output": "o", "sessionId": "s"}
PLACES = {"user": "ana", "mode": "mars", "reflection": "r-1", "session": "s", "job": "JOB", "bulk": "BULK"}


@dataclass(frozen=True)
class Row:
    scope: str
    """What it takes: read, write, operate or admin."""
    status: int
    """How it is answered to whoever may."""
    body: Any = None
    kind: str = "application/json"
    reach: str = ""
    """Beside the user of the address: whether the token has to be for "every" user, for the user who is "named" in the
    body, or for a "job" that it may see."""


def _start(scope: str = "operate", reach: str = "every", **arguments: Any) -> Row:
    return Row(scope, 202, arguments, reach=reach)


MERGE = "application/merge-patch+json"
ROWS: dict[tuple[str, str], Row] = {
    ("GET", "/api/v1/users/{user}/profiles"): Row("read", 200),
    ("POST", "/api/v1/users/{user}/profiles"): Row("write", 201, {"modeId": "venus"}),
    ("GET", "/api/v1/users/{user}/profiles/{mode}"): Row("read", 200),
    ("PUT", "/api/v1/users/{user}/profiles/{mode}"): Row("write", 200, PROFILE | {"preferences": ["x"]}),
    ("PATCH", "/api/v1/users/{user}/profiles/{mode}"): Row("write", 200, {"preferences": []}, MERGE),
    ("DELETE", "/api/v1/users/{user}/profiles/{mode}"): Row("write", 204),
    ("GET", "/api/v1/users/{user}/active-mode"): Row("read", 200),
    ("PUT", "/api/v1/users/{user}/active-mode"): Row("write", 200, {"modeId": "venus"}),
    ("GET", "/api/v1/users/{user}/modes"): Row("read", 200),
    ("GET", "/api/v1/users/{user}/reflections"): Row("read", 200),
    ("POST", "/api/v1/users/{user}/reflections"): Row("write", 201, [{"input": "i", "output": "o"}]),
    ("GET", "/api/v1/users/{user}/reflections/{reflection}"): Row("read", 200),
    ("PUT", "/api/v1/users/{user}/reflections/{reflection}"): Row("write", 200, {"input": "i", "output": "o"}),
    ("PATCH", "/api/v1/users/{user}/reflections/{reflection}"): Row("write", 200, {"output": "x"}, MERGE),
    ("DELETE", "/api/v1/users/{user}/reflections/{reflection}"): Row("write", 204),
    ("GET", "/api/v1/users/{user}/sessions"): Row("read", 200),
    ("GET", "/api/v1/users/{user}/sessions/{session}/reflections"): Row("read", 200),
    ("DELETE", "/api/v1/users/{user}/sessions/{session}/reflections"): Row("write", 204),
    ("GET", "/api/v1/users/{user}/export"): Row("read", 200),
    ("DELETE", "/api/v1/users/{user}"): Row("admin", 200),
    ("GET", "/api/v1/operations/stats"): Row("operate", 200, reach="every"),
    ("POST", "/api/v1/operations/validate"): _start(),
    ("POST", "/api/v1/operations/check"): _start(),
    ("POST", "/api/v1/operations/backup"): _start(),
    ("POST", "/api/v1/operations/migrate"): _start("admin", dryRun=True),
    ("POST", "/api/v1/operations/verify"): _start(),
    ("POST", "/api/v1/operations/rollback"): _start("admin", run=1),
    ("POST", "/api/v1/operations/compact"): _start(),
    ("POST", "/api/v1/operations/export"): _start(reach="named", user="ana"),
    ("GET", "/api/v1/operations/jobs/{job}"): Row("operate", 200, reach="job"),
    ("POST", "/api/v1/operations/jobs/{job}/cancel"): Row("operate", 202, reach="job"),
    ("GET", "/api/v1/operations/bulk-migrations/{bulk}"): Row("operate", 200, reach="every"),
    ("GET", "/metrics"): Row("operate", 200),
}
OPERATIONS = [
    (method.upper(), path) for path, methods in TOLD["paths"].items() for method in methods if method != "parameters"
]
HOLDS = {
    "read": {"read"},
    "write": {"read", "write"},
    "operate": {"operate"},
    "admin": {"read", "write", "operate", "admin"},
}


def _staff() -> Caller:
    caller = Caller()
    caller.client.force_login(User.objects.create_superuser("root"))
    return caller


CALLERS: dict[str, tuple[Callable[[], Caller], str | None, bool]] = {
    # who, what the token may (None: it is none that lets in), whether it is for the user; EVERY: for every user
    "anonymous": (Caller, None, False),
    "staff": (_staff, None, False),
    "staff without permissions": (lambda: _session(User.objects.create_user("helper", is_staff=True)), None, False),
    "expired": (lambda: Caller(make_token("admin", users=["ana"], expires_at=NOW - timedelta(seconds=1))), None, True),
    "revoked": (lambda: Caller(make_token("admin", users=["ana"], revoked_at=NOW)), None, True),
    "owner": (lambda: Caller(make_token("write", users=["ana"])), "write", True),
    "owner, admin": (lambda: Caller(make_token("admin", users=["ana"])), "admin", True),
    "read-only": (lambda: Caller(make_token("read", users=["ana"])), "read", True),
    "operator": (lambda: Caller(make_token("operate", every_user=True)), "operate", True),
    "operator of the user": (lambda: Caller(make_token("operate", users=["ana"])), "operate", True),
    "operator of another": (lambda: Caller(make_token("operate", users=["bo"])), "operate", False),
    "writer of every user": (lambda: Caller(make_token("write", every_user=True)), "write", True),
    "admin of every user": (lambda: Caller(make_token("admin", every_user=True)), "admin", True),
    "other": (lambda: Caller(make_token("write", users=["bo"])), "write", False),
    "other, admin": (lambda: Caller(make_token("admin", users=["bo", "Ana", "ana "])), "admin", False),
    "of nobody": (lambda: Caller(make_token("admin")), "admin", False),
}
EVERY = {"operator", "writer of every user", "admin of every user"}


def _session(user: User) -> Caller:
    caller = Caller()
    caller.client.force_login(user)
    return caller


def _expected(row: Row, path: str, who: str) -> int:
    _, scope, is_for = CALLERS[who]
    if scope is None:
        return 401
    if "{user}" in path and not is_for:
        return 404
    if row.scope not in HOLDS[scope] or not {"every": who in EVERY, "named": is_for}.get(row.reach, True):
        return 403
    return 404 if row.reach == "job" and who not in EVERY else row.status


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    assert sorted(ROWS) == sorted(OPERATIONS)


@pytest.fixture(params=["file", "sql"])
def dataset(request: pytest.FixtureRequest, settings: Any, tmp_path: Path, db: None) -> dict[str, str]:
    """Something of ana's at every address."""
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = request.param, tmp_path / ".orb-data"
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    caller = Caller(make_token("write", users=["ana"]))
    start = "/api/v1/users/ana"
    made = [
        caller.put(f"{start}/profiles/mars", PROFILE),
        caller.put(f"{start}/active-mode", {"modeId": "mars"}),
        caller.post(f"{start}/reflections", REFLECTION),
    ]
    assert [one.status_code for one in made] == [201, 200, 201]
    job = Job.objects.create(operation="validate", created_at=NOW)
    bulk = BulkMigration.objects.create(**identity_of(tmp_path), created_at=NOW)
    return {**PLACES, "job": str(job.pk), "bulk": str(bulk.pk)}


def _state() -> Any:
    found = [list(stores.open_store(domain).walk(kind)) for domain in (LUNA, TE) for kind in domain.kinds]
    return found, sorted(Job.objects.values_list("pk", "state", "wants_to_stop"))


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[f"{method} {path}" for method, path in OPERATIONS])
def test_only_those_who_may_can(method: str, path: str, dataset: dict[str, str]) -> None:
    row, before = ROWS[method, path], _state()
    assert before[0][-1], "there is something to protect"
    address = path.format(**dataset)
    allowed = []
    for who in sorted(CALLERS, key=lambda one: _expected(row, path, one) < 300):  # whoever is refused comes first
        expected = _expected(row, path, who)
        if expected < 300:
            allowed.append(who)
            continue
        caller = CALLERS[who][0]()
        answer = caller(method, address, row.body, kind=row.kind)
        told = refused(answer, expected)
        assert "canary-of-ana" not in answer.content.decode(), who
        assert "ana" not in json.dumps(told), who
        elsewhere = caller(method, path.format(**dataset | {"user": "nobody"}), row.body, kind=row.kind)
        if expected == 404:
            told["instance"] = refused(elsewhere, 404)["instance"]
            assert told == elsewhere.json(), "whether there is something cannot be told"
        assert _state() == before, f"{who} changed something"
    assert allowed
    caller = CALLERS[allowed[0]][0]()
    answer = caller(method, address, row.body, kind=row.kind)
    assert answer.status_code == row.status, (allowed[0], answer.content)
    if row.scope == "read":
        b"".join(answer.streaming_content) if answer.streaming else answer.content
        assert _state() == before


@pytest.mark.parametrize("path", TOLD["paths"])
def test_methods_that_are_not_told_are_not_there(path: str, dataset: dict[str, str]) -> None:
    caller, before = Caller(make_token("admin", every_user=True)), _state()
    told = {method for method, one in OPERATIONS if one == path}
    for method in {*METHODS, "OPTIONS", "TRACE", "CONNECT", "PROPFIND"} - told:
        answer = caller(method, path.format(**dataset), {})
        assert answer.status_code == 405, method
        assert set(answer["Allow"].replace(" ", "").split(",")) >= told - {"HEAD"}
    assert _state() == before
    assert Token.objects.latest("pk").last_used_at is None, "nobody was asked who they are"


@pytest.mark.django_db
def test_lists_hold_nothing_of_others(dataset: dict[str, str]) -> None:
    every = Caller(make_token("read", every_user=True))
    for path in [path for method, path in OPERATIONS if method == "GET" and "{user}" in path]:
        answer = every.get(path.format(**dataset | {"user": "bo"}))
        told = b"".join(answer.streaming_content) if answer.streaming else answer.content
        assert b"canary-of-ana" not in told, path
        assert b"mars" not in told, path


COLUMNS = {
    column.attname: value
    for domain in (LUNA, TE)
    for model in domain.models.values()
    for column in model._meta.get_fields()
    for value in (
        [777 if column.get_internal_type() in ("BigIntegerField", "IntegerField", "BigAutoField") else "forged"]
    )
}


@pytest.mark.parametrize(
    "given", [COLUMNS, {"runId": 777, "digest": "forged", "extra": {"userId": "bo", "input": "forged"}}]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [one for one in OPERATIONS if one[0] in ("POST", "PUT", "PATCH") and "{user}" in one[1]],
    ids=str,
)
def test_no_column_can_be_written_that_is_none_of_the_records(
    method: str, path: str, given: dict[str, Any], dataset: dict[str, str]
) -> None:
    """What is no field is an unknown key, kept for whoever sent it, or refused where there is no room for any."""
    row, caller = ROWS[method, path], Caller(make_token("write", users=["ana"]))
    fields = row.body[0] if isinstance(row.body, list) else row.body
    ours = {"input", "output", "tags", "notes", "preferences", "constraints", "id"}
    forged = {name: value for name, value in given.items() if name not in ours}
    body = {**forged, **fields} | {"userId": "ana"}
    answer = caller(method, path.format(**dataset), body, kind=row.kind)
    if "active-mode" in path:
        refused(answer, 400)
        return
    assert answer.status_code == row.status, answer.content
    shown = answer.json()
    assert shown["userId"] == "ana"
    assert {name: shown[name] for name in fields} == fields
    for domain in (LUNA, TE):
        store = stores.open_store(domain)
        for kind in domain.kinds:
            for record in store.walk(kind):
                assert record.user_id == "ana"
            if isinstance(store, stores.SqlStore):
                for values in domain.models[kind].objects.values():
                    assert values["run_id"] is None
                    assert values["position"] is None
                    assert values["digest"] != "forged"
                    assert "forged" not in (values.get("input"), values.get("id"), values.get("mode_id"))
