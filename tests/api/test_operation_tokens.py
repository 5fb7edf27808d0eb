"""What a token may start, see and keep: by its scopes, by the users that it is for, and by its quota."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orbsite.api.operations import ALREADY_QUEUED, OFFERED
from orbsite.models.api_tokens import Token
from orbsite.models.jobs import Job, JobState
from orbsite.models.retention import RetentionPolicy
from orbsite.operations.jobs import catalog, jobs
from orbsite.storage.clock import utc_now
from tests.api.conftest import Caller, make_token, refused

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/operations"
WHOLE_STORE: list[tuple[str, dict[str, Any]]] = [
    ("validate", {}),
    ("check", {}),
    ("verify", {"only": ["te"]}),
    ("migrate", {}),
    ("migrate", {"dryRun": True}),
    ("rollback", {"run": 1}),
    ("rollback", {"run": 1, "dryRun": True}),
    ("compact", {}),
    ("compact", {"force": True}),
    ("export", {}),
    ("export", {"user": None}),
    ("backup", {}),
]
NEED_ADMIN = [
    ("migrate", {}),
    ("migrate", {"dryRun": True}),
    ("rollback", {"run": 1}),
    ("compact", {"force": True}),
    ("compact", {"force": True, "dryRun": True}),
    ("compact", {"force": True, "policy": 1, "user": "ana"}),
]


@pytest.fixture
def place(settings: Any, tmp_path: Path) -> Path:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = "sql", tmp_path / ".orb-data"
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    return Path(settings.ORB_BACKUP_DIR)


@pytest.fixture
def policy(db: None) -> int:
    return RetentionPolicy.objects.create(name="p", domain="te", rules={"max_age_days": 1}).pk


def _done(caller: Caller, capture: Any, name: str, body: dict[str, Any]) -> Any:
    with capture(execute=True):
        answer = caller.post(f"{ROOT}/{name}", body)
    assert answer.status_code == 202, answer.content
    return caller.get(answer["Location"]).json()


@pytest.mark.parametrize("scopes", [["operate"], ["admin"], ["operate", "write"]], ids=str)
@pytest.mark.parametrize("users", [["ana"], ["ana", "bo"], []], ids=str)
@pytest.mark.parametrize(("name", "body"), WHOLE_STORE, ids=str)
def test_work_over_the_whole_store_needs_a_token_of_every_user(
    name: str, body: dict[str, Any], users: list[str], scopes: list[str]
) -> None:
    told = refused(Caller(make_token(*scopes, users=users)).post(f"{ROOT}/{name}", body), 403, "forbidden")
    assert "scope" in told["detail"] or "every user" in told["detail"]
    assert not Job.objects.exists()


@pytest.mark.parametrize(("name", "body"), NEED_ADMIN, ids=str)
def test_what_destroys_needs_the_scope_admin(name: str, body: dict[str, Any], policy: int) -> None:
    body = body | ({"policy": policy} if "policy" in body else {})
    operator = Caller(make_token("operate", "write", every_user=True))
    told = refused(operator.post(f"{ROOT}/{name}", body), 403, "forbidden")
    assert told["detail"] == "The token lacks the scope that this request needs: admin."
    assert not Job.objects.exists()
    assert Caller(make_token("admin", every_user=True)).post(f"{ROOT}/{name}", body).status_code == 202


def test_a_token_of_some_users_starts_what_concerns_them_alone(place: Path, policy: int) -> None:
    ana = Caller(make_token("operate", users=["ana"]))
    assert ana.post(f"{ROOT}/export", {"user": "ana"}).status_code == 202
    assert ana.post(f"{ROOT}/compact", {"policy": policy, "user": "ana"}).status_code == 202
    for user in ("bo", "Ana", "ana ", "", "*", "%"):
        refused(ana.post(f"{ROOT}/export", {"user": user}), 403, "forbidden")
        refused(ana.post(f"{ROOT}/compact", {"policy": policy, "user": user}), 403, "forbidden")
    assert Job.objects.count() == 2


def test_a_token_of_one_user_gets_the_export_of_that_user_alone(
    place: Path, ana: Caller, django_capture_on_commit_callbacks: Any
) -> None:
    every = Caller(make_token("write", every_user=True))
    for user in ("ana", "bo"):
        made = every.post(f"/api/v1/users/{user}/reflections", {"input": f"canary-{user}", "output": "o"})
        assert made.status_code == 201
    caller = Caller(make_token("operate", users=["ana"]))
    job = _done(caller, django_capture_on_commit_callbacks, "export", {"user": "ana"})
    assert job["state"] == "done"
    text = "".join(path.read_text() for path in (place / job["result"]["directory"]).rglob("*.json"))
    assert "canary-ana" in text
    assert "canary-bo" not in text
    assert job["result"]["domains"]["te"]["exported"] == 1


@pytest.mark.parametrize("scope", ["operate", "admin"])
def test_a_token_of_some_users_sees_its_own_jobs_alone(
    place: Path, scope: str, django_capture_on_commit_callbacks: Any
) -> None:
    mine, same_user, every = (
        Caller(make_token(scope, users=["ana"])),
        Caller(make_token(scope, users=["ana"])),
        Caller(make_token("operate", every_user=True)),
    )
    started = mine.post(f"{ROOT}/export", {"user": "ana"})
    assert mine.get(started["Location"]).status_code == 200
    assert every.get(started["Location"]).status_code == 200
    others = [
        same_user.post(f"{ROOT}/export", {"user": "ana"})["Location"],
        every.post(f"{ROOT}/export", {"user": "ana"})["Location"],
        every.post(f"{ROOT}/validate", {})["Location"],
        f"{ROOT}/jobs/{jobs.start('validate', {}, now=utc_now, actor='root').pk}",
    ]
    nothing = refused(mine.get(f"{ROOT}/jobs/{10**9}"), 404)
    for other in others:
        assert refused(mine.get(other), 404) | {"instance": ""} == nothing | {"instance": ""}
        refused(mine.post(f"{other}/cancel", {}), 404)
        assert every.get(other).status_code == 200
    assert not Job.objects.filter(wants_to_stop=True).exists()
    assert mine.post(f"{started['Location']}/cancel", {}).status_code == 202


def test_a_token_that_was_narrowed_loses_sight_of_its_jobs_over_the_whole_store(place: Path) -> None:
    caller = Caller(make_token("operate", users=["ana"], every_user=True))
    whole = caller.post(f"{ROOT}/validate", {})["Location"]
    of_bo = caller.post(f"{ROOT}/export", {"user": "bo"})["Location"]
    of_ana = caller.post(f"{ROOT}/export", {"user": "ana"})["Location"]
    Token.objects.update(every_user=False)
    assert [caller.get(one).status_code for one in (whole, of_bo, of_ana)] == [404, 404, 200]


def test_a_job_of_another_version_is_not_shown_to_a_token_of_some_users(place: Path) -> None:
    caller = Caller(make_token("operate", users=["ana"]))
    started = caller.post(f"{ROOT}/export", {"user": "ana"})["Location"]
    Job.objects.update(operation="of-another-version")
    refused(caller.get(started), 404)


def test_figures_of_every_user_are_for_tokens_of_every_user() -> None:
    for scopes in (["operate"], ["admin"]):
        refused(Caller(make_token(*scopes, users=["ana"])).get(f"{ROOT}/stats"), 403, "forbidden")
        refused(Caller(make_token(*scopes)).get(f"{ROOT}/stats"), 403, "forbidden")
        assert Caller(make_token(*scopes, every_user=True)).get(f"{ROOT}/stats").status_code == 200


def test_metrics_tell_a_token_of_some_users_of_the_service_alone() -> None:
    Caller(make_token("operate", every_user=True)).post(f"{ROOT}/validate", {})
    some = Caller(make_token("operate", users=["ana"])).get("/metrics").content.decode()
    every = Caller(make_token("operate", every_user=True)).get("/metrics").content.decode()
    assert 'orb_check{check="store"} 1' in some
    assert "orb_records" not in some
    assert "orb_jobs" not in some
    assert 'orb_jobs{state="queued"} 1' in every


EQUAL: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("validate", {}, {}),
    ("validate", {}, {"only": None}),
    ("validate", {"only": ["te", "luna"]}, {"only": ["luna", "te"]}),
    ("compact", {"dryRun": False}, {"force": False}),
    ("export", {"user": "ana"}, {"user": "ana", "only": None}),
]


@pytest.mark.parametrize(("name", "one", "other"), EQUAL, ids=str)
def test_equal_jobs_of_a_token_that_wait_are_one(
    name: str, one: dict[str, Any], other: dict[str, Any], operator: Caller
) -> None:
    first, second = operator.post(f"{ROOT}/{name}", one), operator.post(f"{ROOT}/{name}", other, Idempotency_Key="k")
    assert (first.status_code, second.status_code) == (202, 202)
    assert second["Location"] == first["Location"]
    assert second.json() == first.json()
    assert (first.get(ALREADY_QUEUED), second.get(ALREADY_QUEUED)) == (None, "true")
    assert Job.objects.count() == 1


def test_jobs_that_differ_or_are_not_waiting_are_others(operator: Caller, admin: Caller) -> None:
    def start(caller: Caller, name: str, body: dict[str, Any]) -> str:
        return str(caller.post(f"{ROOT}/{name}", body)["Location"])

    made = [
        start(operator, "validate", {}),
        start(operator, "check", {}),
        start(operator, "validate", {"only": ["te"]}),
    ]
    made += [start(admin, "validate", {})]
    Job.objects.filter(pk=made[0].split("/")[-1]).update(state=JobState.RUNNING)
    made += [start(operator, "validate", {})]
    operator("POST", f"{made[1]}/cancel")
    made += [start(operator, "check", {})]
    assert len(set(made)) == Job.objects.count() == 6


def test_people_in_the_console_have_equal_jobs_of_their_own() -> None:
    one, other = (jobs.start("validate", {}, now=utc_now, actor=name).pk for name in ("root", "otto"))
    assert one != other
    assert jobs.start("validate", {"only": None}, now=utc_now, actor="root").pk == one
    assert len({jobs.start("validate", {}, now=utc_now).pk for _ in range(2)}) == 2, "nobody is named"


def test_sixty_exports_in_a_row_are_one_job(operator: Caller) -> None:
    places = {operator.post(f"{ROOT}/export", {})["Location"] for _ in range(60)}
    assert len(places) == Job.objects.count() == 1


def test_a_token_has_so_many_open_jobs(settings: Any, operator: Caller, admin: Caller) -> None:
    settings.ORB_TOKEN_MAX_OPEN_JOBS = "3"
    for number in range(3):
        assert operator.post(f"{ROOT}/backup", {"label": str(number)}).status_code == 202
    answer = operator.post(f"{ROOT}/backup", {"label": "one too many"}, Idempotency_Key="k")
    told = refused(answer, 429, "quota-exceeded")
    assert "ORB_TOKEN_MAX_OPEN_JOBS" in told["detail"]
    assert int(answer["Retry-After"]) >= 1
    assert operator.post(f"{ROOT}/backup", {"label": "0"}).status_code == 202, "an equal one that waits is answered"
    assert admin.post(f"{ROOT}/backup", {"label": "another token"}).status_code == 202
    Job.objects.filter(arguments={"label": "0"}).update(state=JobState.RUNNING)
    refused(operator.post(f"{ROOT}/backup", {"label": "still one too many"}), 429)
    Job.objects.filter(arguments={"label": "0"}).update(state=JobState.DONE)
    assert operator.post(f"{ROOT}/backup", {"label": "one too many"}, Idempotency_Key="k").status_code == 202


def test_a_token_starts_so_many_jobs_a_day(settings: Any, operator: Caller) -> None:
    settings.ORB_TOKEN_MAX_JOBS_PER_DAY = "2"
    for number in range(2):
        assert operator.post(f"{ROOT}/backup", {"label": str(number)}).status_code == 202
    Job.objects.update(state=JobState.DONE)
    hours_ago = datetime.now(UTC) - timedelta(hours=23)
    Job.objects.filter(arguments={"label": "0"}).update(created_at=hours_ago)
    answer = operator.post(f"{ROOT}/backup", {"label": "2"})
    assert "ORB_TOKEN_MAX_JOBS_PER_DAY" in refused(answer, 429, "quota-exceeded")["detail"]
    assert 3000 < int(answer["Retry-After"]) <= 3600
    Job.objects.filter(arguments={"label": "0"}).update(created_at=hours_ago - timedelta(hours=2))
    assert operator.post(f"{ROOT}/backup", {"label": "2"}).status_code == 202


@pytest.mark.parametrize("name", ["export", "backup"])
def test_the_files_of_a_tokens_jobs_have_a_limit_and_what_is_gone_does_not_count(
    name: str, place: Path, settings: Any, operator: Caller, django_capture_on_commit_callbacks: Any
) -> None:
    (place.parent / ".orb-data").mkdir(mode=0o700)
    settings.ORB_TOKEN_MAX_BYTES = "1"
    made = _done(operator, django_capture_on_commit_callbacks, name, {})
    assert made["state"] == "done", made
    answer = operator.post(f"{ROOT}/export", {"only": ["te"]})
    assert "ORB_TOKEN_MAX_BYTES" in refused(answer, 429, "quota-exceeded")["detail"]
    assert int(answer["Retry-After"]) >= 1
    assert operator.post(f"{ROOT}/validate", {}).status_code == 202, "what keeps no files goes on"
    assert Caller(make_token("operate", every_user=True)).post(f"{ROOT}/export", {}).status_code == 202
    (directory,) = place.iterdir()
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    directory.rmdir()
    assert operator.post(f"{ROOT}/export", {"only": ["te"]}).status_code == 202


def test_a_job_that_waited_is_held_to_the_limit_when_it_begins(
    place: Path, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    make_token("operate", every_user=True)
    token = Token.objects.get()
    settings.ORB_TOKEN_MAX_BYTES = "1"
    first, second = (
        jobs.get_or_start("export", arguments, now=utc_now, token=token)[0] for arguments in ({}, {"only": ["te"]})
    )
    for job in (first, second):
        assert jobs.execute(job.pk, now=utc_now)
        job.refresh_from_db()
    assert (first.state, second.state) == ("done", "failed")
    assert "ORB_TOKEN_MAX_BYTES" in second.error


def test_there_need_be_no_limit(settings: Any, place: Path, operator: Caller) -> None:
    for name in ("ORB_TOKEN_MAX_OPEN_JOBS", "ORB_TOKEN_MAX_JOBS_PER_DAY", "ORB_TOKEN_MAX_BYTES"):
        setattr(settings, name, "none")
    for number in range(30):
        assert operator.post(f"{ROOT}/backup", {"label": str(number)}).status_code == 202


def test_jobs_know_their_token_and_outlive_it(operator: Caller) -> None:
    operator.post(f"{ROOT}/validate", {})
    token = Token.objects.get()
    assert Job.objects.get().token == token
    token.delete()
    assert Job.objects.get().token is None
    assert Job.objects.get().actor == f"token {token.prefix}"


def test_the_same_key_finds_the_job_of_an_attempt_whose_answer_was_lost(
    operator: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orbsite.api import operations

    def die(job: Job) -> Any:
        raise RuntimeError("the process died before it answered")

    with monkeypatch.context() as patch:
        patch.setattr(operations, "_shown", die)
        assert operator.post(f"{ROOT}/backup", {"label": "x"}, Idempotency_Key="k").status_code == 500
    job = Job.objects.get()
    Job.objects.update(state=JobState.DONE)  # it no longer waits, so that only the key tells
    again = operator.post(f"{ROOT}/backup", {"label": "x"}, Idempotency_Key="k")
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (202, job.pk, "done")
    assert Job.objects.count() == 1
    assert operator.post(f"{ROOT}/backup", {"label": "x"}, Idempotency_Key="k2").json()["id"] != job.pk


def test_the_needs_of_an_operation_are_declared_once() -> None:
    declared = catalog.OPERATIONS
    assert {name for name, kind in declared.items() if kind.scope == "admin"} == {
        "migrate", "rollback", "import", "erase", "upgrade-files", "upgrade-rows",
    }  # fmt: skip
    assert {name for name, kind in declared.items() if kind.admin_when} == {
        "compact", "repair", "cleanup", "sanitize", "maintain",
    }  # fmt: skip
    assert {name for name, kind in declared.items() if kind.takes_one_user} == {"compact", "export", "erase"}
    for kind in declared.values():
        assert set(kind.admin_when) <= set(kind.__struct_fields__)
        assert kind.takes_one_user == ("user" in kind.__struct_fields__)
    assert set(OFFERED) <= set(declared)
