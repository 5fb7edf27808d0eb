"""The API as it is served: gunicorn on SQLite and PostgreSQL, and files; many at once; headers; the log."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orbsite.storage.encoding.url_ids import segment
from tests.support.postgresql import Unavailable
from tests.support.serving import Answer, Server, production, served
from tests.support.time_limits import time_limit
from tests.torture.databases import migrated

pytestmark = pytest.mark.slow
AT_ONCE = 20
PROFILES = "/api/v1/users/ana/profiles"
WALKED = "/api/v1/users/walker/reflections"
OLD = 10_000
CANARY = "canary-7f3a"


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "file"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    work = tmp_path_factory.mktemp("served")
    kind = "sqlite" if request.param == "file" else request.param
    persistence = "file" if request.param == "file" else "sql"
    with ExitStack() as stack:
        try:
            database = stack.enter_context(migrated(kind, work))
        except Unavailable as problem:
            pytest.skip(str(problem))
        settings = {
            "ORB_PERSISTENCE": persistence,
            "ORB_THREADS": "10",
            "ORB_API_RATE": "none",
        }
        yield stack.enter_context(served(work, database.address, has_tables=True, **settings))


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    return server.token("--scope", "write", "--scope", "operate", "--every-user")


def _at_once(act: Any) -> list[Answer]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(act, range(AT_ONCE)))


def test_the_same_key_sent_twenty_times_at_once_makes_one_record(server: Server, token: str) -> None:
    body = json.dumps({"modeId": "once"}).encode()
    answers = _at_once(lambda _: server.ask("POST", PROFILES, body, token, Idempotency_Key="one"))
    assert Counter(one.status for one in answers) == {201: AT_ONCE}, [one.body for one in answers if one.status != 201]
    assert len({one.body for one in answers}) == 1
    assert len({one.headers["etag"] for one in answers}) == 1
    assert sum("idempotent-replayed" not in one.headers for one in answers) == 1
    other = server.ask("POST", PROFILES, json.dumps({"modeId": "other"}).encode(), token, Idempotency_Key="one")
    assert (other.status, other.headers["content-type"]) == (422, "application/problem+json")


def test_without_a_key_one_of_many_creates_and_the_others_are_told(server: Server, token: str) -> None:
    def create(number: int) -> Answer:
        body = {"modeId": "race", "preferences": [str(number)]}
        return server.ask("POST", PROFILES, json.dumps(body).encode(), token)

    assert Counter(one.status for one in _at_once(create)) == {201: 1, 409: AT_ONCE - 1}


def _start(server: Server, token: str, label: str) -> Answer:
    body = json.dumps({"label": label}).encode()
    return server.ask("POST", "/api/v1/operations/backup", body, token)


def test_equal_operations_asked_for_twenty_times_at_once_are_one_job(server: Server) -> None:
    token = server.token("--scope", "operate", "--every-user")
    answers = _at_once(lambda _: _start(server, token, "equal"))
    assert Counter(one.status for one in answers) == {202: AT_ONCE}, [one.body for one in answers]
    assert len({one.headers["location"] for one in answers}) == 1
    assert sum("job-already-queued" not in one.headers for one in answers) == 1


def test_many_at_once_get_no_more_jobs_than_the_quota_of_their_token(server: Server) -> None:
    token = server.token("--scope", "operate", "--every-user")
    answers = [*_at_once(lambda number: _start(server, token, f"a{number}"))]
    answers += _at_once(lambda number: _start(server, token, f"b{number // 2}"))
    statuses = Counter(one.status for one in answers)
    assert statuses == {202: 20, 429: 20}, statuses
    assert all(one.headers["retry-after"] for one in answers if one.status == 429)


def test_of_many_who_save_over_the_same_etag_one_does(server: Server, token: str) -> None:
    address = f"{PROFILES}/cas"
    body = {"preferences": [], "constraints": [], "updatedAt": "2024-01-01T00:00:00Z"}
    tag = server.ask("PUT", address, json.dumps(body).encode(), token).headers["etag"]

    def save(number: int) -> Answer:
        return server.ask(
            "PUT", address, json.dumps(body | {"preferences": [str(number)]}).encode(), token, If_Match=tag
        )

    assert Counter(one.status for one in _at_once(save)) == {200: 1, 412: AT_ONCE - 1}


def test_patches_without_a_condition_are_all_applied(server: Server, token: str) -> None:
    address = f"{PROFILES}/patched"
    body = {"preferences": [], "constraints": [], "updatedAt": "2024-01-01T00:00:00Z"}
    server.ask("PUT", address, json.dumps(body).encode(), token)
    done = [server.ask("PATCH", address, json.dumps({f"k{n}": n}).encode(), token) for n in range(3)]
    assert [one.status for one in done] == [200] * 3
    assert server.ask("GET", address, token=token).json().items() >= {"k0": 0, "k1": 1, "k2": 2}.items()


def _reflections(start: str, numbers: range) -> bytes:
    """Return the body that creates some: three a second, so that times alone do not tell them apart."""
    made = [
        {"id": f"{start}-{n:05}", "input": "", "output": "", "tags": ["walk"],
         "createdAt": f"2024-01-01T{n // 10800:02}:{n // 180 % 60:02}:{n // 3 % 60:02}Z"}
        for n in numbers
    ]  # fmt: skip
    return json.dumps(made).encode()


def test_a_walk_meets_each_old_one_once_while_another_client_writes(server: Server, token: str) -> None:
    """10,000 are there, and 1,000 come among them meanwhile: the newest, the oldest and in the middle, before and after."""
    for start in range(0, OLD, 1000):
        answer = server.ask("POST", WALKED, _reflections("old", range(start, start + 1000)), token)
        assert answer.status == 201, answer.body
    begun, under_way, met = threading.Event(), threading.Event(), list[int]()

    def write() -> None:
        begun.wait(time_limit(60))
        for part in range(100):
            if part == 10:
                under_way.set()
            body = _reflections("a" if part % 2 else "z", range(part, OLD, OLD // 10))
            assert server.ask("POST", WALKED, body, token).status == 201

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not met or not writing.done():
            seen, following = list[str](), f"{WALKED}?tag=walk"
            while following:
                answer = server.ask("GET", following, token=token)
                assert answer.status == 200, answer.body
                begun.set()  # the writer begins when the first page is read, and the second waits for it
                assert under_way.wait(time_limit(60))
                seen += [one["id"] for one in answer.json()["items"]]
                following = answer.json()["next"]
            old = [name for name in seen if name.startswith("old")]
            assert len(seen) == len(set(seen))
            assert old == [f"old-{n:05}" for n in reversed(range(OLD))]
            met.append(len(seen) - len(old))
    writing.result()
    assert met[0] > 0, "some of the new ones were met while others came"


def test_every_answer_has_the_headers(server: Server, token: str) -> None:
    places = [("/api/v1/users/ana/profiles", 200), ("/admin/login/", 200), ("/livez", 200), ("/nowhere", 404)]
    for path, status in places:
        answer = server.ask("GET", path, token=token)
        assert answer.status == status, path
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "max-age=31536000" in answer.headers["strict-transport-security"]
        assert len(answer.headers["x-request-id"]) == 36
        if path.startswith(("/api", "/admin")):
            assert "no-store" in answer.headers["cache-control"]
        assert "access-control-allow-origin" not in answer.headers


def test_plain_http_is_sent_to_https_but_for_health(server: Server) -> None:
    answer = server.ask("GET", PROFILES, X_Forwarded_Proto="http")
    assert (answer.status, answer.headers["location"]) == (301, f"https://orb.example.org{PROFILES}")
    assert server.ask("GET", "/livez", X_Forwarded_Proto="http").status == 200


def test_a_host_that_is_not_ours_is_refused(server: Server, token: str) -> None:
    answer = server.ask("GET", PROFILES, token=token, Host="evil.example.net")
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "NONSENSE"])
def test_unknown_methods_are_not_allowed(server: Server, token: str, method: str) -> None:
    answer = server.ask(method, PROFILES, token=token)
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("user", ["~AGE", "~AA", "x" * 3000, segment("🚀" * 700)])
def test_no_id_and_no_text_makes_a_database_fail(server: Server, token: str, user: str) -> None:
    """A NUL, which PostgreSQL cannot be asked for, and ids of any length."""
    places = ("profiles", "profiles/~AGE", "active-mode", "modes", "reflections", "reflections/~AGE", "sessions",
              "sessions/~AGE/reflections", "export", f"profiles/{user}")  # fmt: skip
    for place in places:
        answer = server.ask("GET", f"/api/v1/users/{user}/{place}", token=token)
        assert answer.status in (200, 404, 400), (place, answer)
    for method, place, body in (("PUT", "active-mode", {"modeId": "x"}), ("POST", "profiles", {"modeId": "a\x00"}),
                                ("POST", "reflections", {"input": "x", "output": "\x00"})):  # fmt: skip
        answer = server.ask(method, f"/api/v1/users/{user}/{place}", json.dumps(body).encode(), token)
        assert answer.status == 400, (place, answer)


@pytest.mark.parametrize("user", ["~AGE", "~AA"])
def test_an_id_that_no_database_holds_has_no_answers_and_nothing_to_erase(server: Server, user: str) -> None:
    admin = server.token("--scope", "admin", "--every-user")
    address = f"/api/v1/users/{user}"
    for body, status in (([{"input": "i", "output": "o"}], 400), ([], 201)):
        answer = server.ask("POST", f"{address}/reflections", json.dumps(body).encode(), admin, Idempotency_Key="k")
        assert answer.status == status, answer
    erased = server.ask("DELETE", address, token=admin)
    assert erased.status == 200, erased


def test_it_is_ready_and_tells_figures(server: Server, token: str) -> None:
    assert server.ask("GET", "/readyz").json()["status"] == "ready"
    text = server.ask("GET", "/metrics", token=token).body.decode()
    assert 'orb_check{check="store"} 1' in text
    assert 'orb_records{domain="luna",kind="profiles"}' in text


def test_the_static_files_of_the_docs_are_served_and_the_pages_are_for_staff(server: Server, token: str) -> None:
    assert server.ask("GET", "/api/docs", token=token).status in (401, 403)
    assert server.ask("GET", "/api/schema", token=token).status in (401, 403)
    assert server.ask("GET", "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css").status == 200


def test_the_log_is_lines_of_json_without_a_users_text(server: Server, token: str) -> None:
    body = {"modeId": f"m-{CANARY}", "preferences": [f"{CANARY}\r\n\x1b[31m\u202e"], "constraints": [{"id": CANARY}]}
    told = server.ask("POST", PROFILES, json.dumps(body).encode(), token, User_Agent=CANARY, X_Canary=CANARY)
    assert told.status == 400
    body["constraints"] = []
    assert server.ask("POST", PROFILES, json.dumps(body).encode(), token).status == 201
    server.ask("GET", f"{PROFILES}?nothing={CANARY}", token=token)
    server.ask("GET", f"/{CANARY}", token=CANARY)
    server.ask("POST", "/admin/login/", f"username={CANARY}".encode(), Content_Type="application/x-www-form-urlencoded")
    assert server.ask("GET", PROFILES, Host=f"{CANARY}.example.net").status == 400
    lines = server.lines()
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    asked = [line for line in lines if line["logger"] == "orbsite.requests"]
    assert {"method", "route", "status", "ms", "request"} <= set(asked[0])
    assert told.headers["x-request-id"] in {line["request"] for line in asked}
    secret = token.split("_", 2)[2]
    for line in lines:
        if line["logger"] != "django.security.DisallowedHost":
            assert CANARY not in json.dumps(line)
        assert secret not in json.dumps(line)


def test_the_deployment_check_is_clean(server: Server) -> None:
    assert "no issues" in server.manage("check", "--deploy", "--fail-level", "WARNING")


def test_the_environment_of_these_tests_is_the_documented_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/settings.md").read_text()
    told = set(production(tmp_path)) - {"PATH", "HOME", "TMPDIR", "LANG"}
    assert {name for name in told if f"`{name}`" not in page} == set()
