"""What the client does where the network or the server fails."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from orbsite.client import (
    Changed,
    Client,
    Conflict,
    InvalidRequest,
    InvalidResponse,
    NotFound,
    Retries,
    ServerUnreachable,
    TooManyRequests,
    Unavailable,
)
from tests.client.faulty import FaultyServer, PreparedAnswer, faulty_server
from tests.support.factories import BEGIN, ReflectionFactory

RECORD = {"id": "r-1", "input": "a", "output": "b", "tags": [], "createdAt": "2024-01-01T00:00:00.000Z"}
RECORD |= {"userId": "ana", "sessionId": "s"}
GONE = PreparedAnswer(0)
BUSY = PreparedAnswer(503, {"type": "urn:orb:problem:unavailable", "title": "t", "detail": "d"}, {"Retry-After": "3"})
CHANGED = PreparedAnswer(412, {"type": "urn:orb:problem:precondition-failed", "title": "t"})
MISSING = PreparedAnswer(404, {"type": "urn:orb:problem:not-found", "title": "t"})


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(server: FaultyServer, slept: list[float]) -> Iterator[Client]:
    retries = Retries(number=3, sleep=slept.append, draw=lambda _, most: most)
    with Client(server.url, "t-1", retries=retries) as client:
        yield client


def test_requests_say_what_a_replica_has_to_show_and_nothing_where_a_save_may_be_unknown(
    server: FaultyServer, client: Client
) -> None:
    page = {"items": [], "next": None}
    created = PreparedAnswer(201, RECORD, {"ETag": '"x"', "Location": "/r", "Orb-Position": "1/F0"})
    server.tells(created, PreparedAnswer(200, page), PreparedAnswer(200, page, {"Orb-Position": "0/FFFF"}))
    client.create_reflection("ana", "a", "b")
    for _ in range(2):
        assert list(client.reflections("ana")) == []
    server.tells(MISSING, PreparedAnswer(200, page, {"Orb-Position": "2/0"}), PreparedAnswer(200, page))
    with pytest.raises(NotFound):
        client.delete_reflection("ana", "r-1")
    for _ in range(2):
        assert list(client.reflections("ana")) == []
    server.tells(created._replace(headers={"ETag": '"x"', "Location": "/r"}), PreparedAnswer(200, page))
    client.create_reflection("ana", "a", "b")
    assert list(client.reflections("ana")) == []
    told = [one.headers.get("orb-position") for one in server.asked]
    assert told == [None, "1/F0", "1/F0", "1/F0", None, "2/0", "2/0", None]


def test_a_creation_is_repeated_with_the_same_key(server: FaultyServer, client: Client) -> None:
    server.tells(
        GONE, BUSY, PreparedAnswer(201, RECORD, {"ETag": '"x"', "Location": "/api/v1/users/ana/reflections/r-1"})
    )
    created = client.create_reflection("ana", "a", "b")
    assert (created.record.id, created.etag, created.address) == ("r-1", '"x"', "/api/v1/users/ana/reflections/r-1")
    assert len({one.headers["idempotency-key"] for one in server.asked}) == 1
    assert [one.body for one in server.asked] == [{"input": "a", "output": "b", "tags": []}] * 3
    assert server.asked[0].headers["authorization"] == "Bearer t-1"


def test_pauses_double_and_are_at_least_what_the_server_asks_for(
    server: FaultyServer, client: Client, slept: list[float]
) -> None:
    server.tells(GONE, BUSY, GONE, PreparedAnswer(200, RECORD))
    client.reflection("ana", "r-1")
    assert slept == [0.2, 3.0, 0.8]


def test_the_last_error_is_raised_after_every_retry(server: FaultyServer, client: Client, slept: list[float]) -> None:
    server.tells(*[BUSY] * 4)
    with pytest.raises(Unavailable, match="503 t: d") as caught:
        client.reflection("ana", "r-1")
    assert (caught.value.name, caught.value.retry_after, len(slept)) == ("unavailable", 3.0, 3)
    server.tells(*[GONE] * 4)
    with pytest.raises(ServerUnreachable, match="RemoteDisconnected"):
        client.reflection("ana", "r-1")


def test_a_server_that_is_not_there_is_an_error(slept: list[float]) -> None:
    client = Client("http://127.0.0.1:1", "t", retries=Retries(1, slept.append))
    with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1:1/: ConnectionRefusedError"):
        client.stats()
    assert len(slept) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(400, InvalidRequest), (409, Conflict), (412, Changed), (500, Unavailable)]
)
def test_what_would_fail_again_is_not_repeated(
    server: FaultyServer, client: Client, slept: list[float], status: int, error: type[Exception]
) -> None:
    body = {"type": "urn:orb:problem:x", "title": "t", "errors": [{"path": "$.id", "message": "is taken"}]}
    server.tells(PreparedAnswer(status, body))
    with pytest.raises(error, match=r"\$\.id: is taken") as caught:
        client.reflection("ana", "r-1")
    assert (caught.value.errors, slept) == ([("$.id", "is taken")], [])  # type: ignore[attr-defined]


def test_too_many_requests_are_waited_for(server: FaultyServer, client: Client, slept: list[float]) -> None:
    server.tells(PreparedAnswer(429, {}, {"Retry-After": "7"}), PreparedAnswer(200, RECORD))
    client.reflection("ana", "r-1")
    assert slept == [7.0]
    server.tells(*[PreparedAnswer(429, {})] * 4)
    with pytest.raises(TooManyRequests):
        client.reflection("ana", "r-1")


def test_a_save_whose_response_was_lost_is_found_saved(server: FaultyServer, client: Client) -> None:
    mine = ReflectionFactory(id="r-1", user_id="ana", session_id="s", input="a", output="b", tags=(), created_at=BEGIN)
    server.tells(GONE, CHANGED, PreparedAnswer(200, RECORD, {"ETag": '"new"'}))
    assert client.save_reflection("ana", mine, expect='"old"').etag == '"new"'
    server.tells(GONE, CHANGED, PreparedAnswer(200, RECORD | {"input": "another"}))
    with pytest.raises(Changed):
        client.save_reflection("ana", mine, expect='"old"')
    server.tells(CHANGED)
    with pytest.raises(Changed):
        client.save_reflection("ana", mine, expect='"old"')
    assert [one.headers.get("if-match") for one in server.asked[:3]] == ['"old"', '"old"', None]


@pytest.mark.parametrize("changes", [{"notes": "n"}, {"notes": "n", "tags": []}, {"notes": "n", "gone": None}])
def test_a_change_whose_response_was_lost_is_found_made(server: FaultyServer, client: Client, changes: dict) -> None:
    server.tells(GONE, CHANGED, PreparedAnswer(200, RECORD | {"notes": "n"}, {"ETag": '"new"'}))
    changed = client.change_reflection("ana", "r-1", changes, expect='"old"')
    assert (changed.record.notes, changed.etag) == ("n", '"new"')
    assert [(one.method, one.headers.get("if-match")) for one in server.asked] == [
        ("PATCH", '"old"'),
        ("PATCH", '"old"'),
        ("GET", None),
    ]


def test_a_change_in_another_form_of_the_same_time_is_found_made(server: FaultyServer, client: Client) -> None:
    server.tells(GONE, CHANGED, PreparedAnswer(200, RECORD, {"ETag": '"new"'}))
    changes = {"createdAt": "2024-01-01T01:00:00+01:00"}
    assert client.change_reflection("ana", "r-1", changes, expect='"old"').etag == '"new"'


def test_a_change_that_another_client_prevented_is_reported(server: FaultyServer, client: Client) -> None:
    server.tells(GONE, CHANGED, PreparedAnswer(200, RECORD | {"notes": "of another client"}))
    with pytest.raises(Changed):
        client.change_reflection("ana", "r-1", {"notes": "n"}, expect='"old"')
    server.tells(GONE, CHANGED, PreparedAnswer(200, RECORD | {"notes": "n"}))
    with pytest.raises(Changed):
        client.change_reflection("ana", "r-1", {"notes": None}, expect='"old"')
    server.tells(GONE, CHANGED, PreparedAnswer(200, RECORD))
    with pytest.raises(Changed):
        client.change_reflection("ana", "r-1", {"input": 5}, expect='"old"')
    server.tells(CHANGED)
    with pytest.raises(Changed):
        client.change_reflection("ana", "r-1", {"notes": "n"}, expect='"old"')


def test_an_active_mode_whose_response_was_lost_is_found_set(server: FaultyServer, client: Client) -> None:
    stored = {"userId": "ana", "modeId": "mars", "updatedAt": "2024-01-01T00:00:00.000Z"}
    server.tells(GONE, CHANGED, PreparedAnswer(200, stored, {"ETag": '"new"'}))
    assert client.set_active_mode("ana", "mars", expect='"old"').etag == '"new"'
    server.tells(GONE, CHANGED, PreparedAnswer(200, stored))
    with pytest.raises(Changed):
        client.set_active_mode("ana", "sol", expect='"old"')


def test_a_deletion_whose_response_was_lost_is_done(server: FaultyServer, client: Client) -> None:
    server.tells(GONE, MISSING)
    client.delete_reflection("ana", "r-1")
    server.tells(MISSING)
    with pytest.raises(NotFound):
        client.delete_reflection("ana", "r-1")


def test_the_token_does_not_follow_a_redirect(server: FaultyServer, client: Client) -> None:
    server.tells(PreparedAnswer(301, None, {"Location": "https://elsewhere.example/"}))
    with pytest.raises(InvalidResponse, match="redirects to https://elsewhere"):
        client.stats()
    assert len(server.asked) == 1


def test_a_page_of_another_program_is_an_error(server: FaultyServer, client: Client) -> None:
    server.tells(PreparedAnswer(200, b"<html>"), PreparedAnswer(404, b"<html>not here"), PreparedAnswer(200, {"id": 5}))
    with pytest.raises(InvalidResponse, match="the response is no Page"):
        list(client.reflections("ana"))
    with pytest.raises(NotFound, match="<html>not here"):
        client.reflection("ana", "x")
    with pytest.raises(InvalidResponse, match=r"no Reflection: \$\.id"):
        client.reflection("ana", "x")


def test_members_that_this_version_does_not_know_are_kept(server: FaultyServer, client: Client) -> None:
    server.tells(PreparedAnswer(200, RECORD | {"score": 0.5}), PreparedAnswer(200, RECORD))
    found = client.reflection("ana", "r-1").record
    assert found.extra == {"score": 0.5}
    client.save_reflection("ana", msgspec.structs.replace(found, notes="n"))
    assert server.asked[1].body == RECORD | {"score": 0.5, "notes": "n"}


def test_pages_are_read_when_they_are_needed(server: FaultyServer, client: Client) -> None:
    unreadable: list = []
    broken = {"kind": "reflections", "key": ["ana", "r-9"], "message": "does not decode"}
    server.tells(PreparedAnswer(200, {"items": [RECORD], "next": "/api/v1/users/ana/reflections?cursor=c"}))
    found = client.reflections("ana", tag="a b", since=BEGIN, page_size=1, unreadable=unreadable)
    assert next(found).id == "r-1"
    assert len(server.asked) == 1
    server.tells(PreparedAnswer(200, {"items": [], "next": None, "unreadable": [broken]}))
    assert list(found) == []
    assert [one.path.partition("?")[2] for one in server.asked] == [
        "tag=a+b&limit=1&from=2024-01-01T00%3A00%3A00.000Z",
        "cursor=c",
    ]
    assert [one.key for one in unreadable] == [["ana", "r-9"]]


def test_an_export_that_was_cut_is_an_error(server: FaultyServer, client: Client) -> None:
    line = b'{"domain":"te","kind":"reflections","record":{"id":"r-1"}}\n'
    server.tells(PreparedAnswer(200, line + b'{"end":true,"records":1}\n'), PreparedAnswer(200, line))
    assert [one.end for one in client.export_user("ana")] == [False, True]
    with pytest.raises(InvalidResponse, match="cut off"):
        list(client.export_user("ana"))


def test_connections_are_used_again(server: FaultyServer, client: Client) -> None:
    server.tells(*[PreparedAnswer(200, RECORD)] * 3, MISSING, PreparedAnswer(200, RECORD))
    for _ in range(3):
        client.reflection("ana", "r-1")
    with pytest.raises(NotFound):
        client.reflection("ana", "r-1")
    client.reflection("ana", "r-1")
    assert len(vars(vars(client)["_transport"])["_idle"]) == 1


@pytest.mark.parametrize("url", ["orb.example.org", "ftp://x", "http://", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        Client(url, "t")


def test_ids_are_encoded_and_users_are_never_parts_of_a_path(server: FaultyServer, client: Client) -> None:
    server.tells(*[PreparedAnswer(200, RECORD)] * 2)
    client.reflection("../ana", "a/b?c")
    client.reflection("ana", "..")
    assert all(".." not in one.path and "?" not in one.path for one in server.asked)
