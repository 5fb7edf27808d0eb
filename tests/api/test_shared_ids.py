"""Two users with the same ids: no answer to one tells anything of the other, in every mode of persistence."""

from __future__ import annotations

from typing import Any

import pytest

from orbsite import stores
from te.domain import DOMAIN
from te.records import Reflection
from tests.api.conftest import Caller, listed, make_token, refused
from tests.support.factories import BEGIN

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mode")]
MANY = 1000
HEADERS = ("ETag", "Location", "Link", "Cache-Control", "Vary", "Content-Type", "Allow")


def place(user: str, name: str = "") -> str:
    return f"/api/v1/users/{user}/reflections" + (f"/{name}" if name else "")


def body(name: str, user: str) -> dict[str, Any]:
    said = {"input": f"of {user}", "output": "o", "tags": [user], "createdAt": "2024-01-01T00:00:00.000Z"}
    return {"id": name, "sessionId": "shared", **said}


def fill(user: str) -> None:
    stores.open_store(DOMAIN).put(
        Reflection(
            id=f"r-{number:04}", user_id=user, session_id="shared", input=f"of {user}", output="o", tags=(user,), created_at=BEGIN
        )
        for number in range(MANY)
    )  # fmt: skip


def seen(answer: Any) -> Any:
    """Return what an answer tells, but for the number of the request."""
    content = answer.content
    if answer.headers.get("Content-Type") == "application/problem+json":
        content = {name: value for name, value in answer.json().items() if name != "instance"}
    return answer.status_code, content, {name: answer.headers.get(name) for name in HEADERS}


@pytest.fixture
def bo(db: None) -> Caller:
    return Caller(make_token(users=["bo"]))


def everything(caller: Caller, user: str) -> list[Any]:
    """Ask for and change all sorts of things, and return all answers."""
    one, new = place(user, "r-0007"), body("r-0008", user)
    sent = [
        lambda: caller.get(one),
        lambda: caller.delete(one),
        lambda: caller.patch(one, {"notes": "n"}),
        lambda: caller.put(one, body("r-0007", user), If_Match='"x"'),
        lambda: caller.put(one, body("r-0007", user), If_None_Match="*"),
        lambda: caller.put(one, body("r-0007", user) | {"input": "another"}),
        lambda: caller.post(place(user), new),
        lambda: caller.post(place(user), new),
        lambda: caller.post(place(user), new | {"input": "another"}),
        lambda: caller.post(place(user), [body(f"r-{number:04}", user) for number in range(10, 13)]),
        lambda: caller.post(place(user), [body("r-0012", user) | {"input": "another"}, body("r-0013", user)]),
        lambda: caller.get(place(user) + "?limit=2"),
        lambda: caller.get(place(user) + f"?limit=2&session=shared&tag={user}"),
        lambda: caller.get(f"/api/v1/users/{user}/sessions"),
        lambda: caller.get(f"/api/v1/users/{user}/sessions/shared/reflections"),
        lambda: caller.delete(f"/api/v1/users/{user}/sessions/shared/reflections"),
        lambda: caller.get(place(user)),
    ]  # fmt: skip
    return [seen(ask()) for ask in sent]


def test_each_answer_is_the_same_whether_another_user_has_the_ids_or_not(ana: Caller) -> None:
    alone = everything(ana, "ana")
    fill("bo")
    assert everything(ana, "ana") == alone
    assert {status for status, _, _ in alone} >= {200, 201, 204, 404, 409, 412}


def test_each_user_has_all_the_ids_and_sees_no_others(ana: Caller, bo: Caller, mode: str) -> None:
    fill("ana")
    fill("bo")
    for caller, user in ((ana, "ana"), (bo, "bo")):
        found = listed(caller, place(user))
        assert len({one["id"] for one in found}) == MANY
        assert {(one["userId"], *one["tags"]) for one in found} == {(user, user)}
        if mode == "sql":
            assert {one["userId"] for one in listed(caller, f"{place(user)}?search=of&limit=100")} == {user}
            assert listed(caller, f"{place(user)}?search={'bo' if user == 'ana' else 'ana'}") == []
    assert ana.patch(place("ana", "r-0001"), {"input": "changed"}).status_code == 200
    assert ana.delete(place("ana", "r-0002")).status_code == 204
    assert bo.get(place("bo", "r-0001")).json()["input"] == "of bo"
    assert bo.get(place("bo", "r-0002")).status_code == 200
    refused(ana.get(place("ana", "r-0002")), 404, "not-found")
    refused(ana.get(place("bo", "r-0003")), 404)


def test_a_cursor_of_an_earlier_version_is_refused_plainly(ana: Caller) -> None:
    import base64
    import json

    fill("ana")
    following = ana.get(f"{place('ana')}?limit=2").json()["next"]
    cursor = following.partition("cursor=")[2].partition("&")[0]
    parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    old = base64.urlsafe_b64encode(json.dumps(parts[:-1]).encode()).decode().rstrip("=")
    answer = refused(ana.get(f"{place('ana')}?limit=2&cursor={old}"), 400)
    assert "start without one" in str(answer)
