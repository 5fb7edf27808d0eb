"""Te's resources, in every mode of persistence."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from orbsite import stores
from orbsite.storage.encoding.url_ids import segment
from te.api import Reflections
from te.domain import DOMAIN
from te.records import Reflection
from te.reflection_log import ReflectionLog
from tests.api.conftest import Caller, listed, make_token, refused

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mode")]
ALL = "/api/v1/users/ana/reflections"
BODY = {"id": "r-1", "input": "deploy", "output": "done", "tags": ["ok"], "createdAt": "2024-01-01T00:00:00.000Z"}
START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def bo(db: None) -> Caller:
    return Caller(make_token(users=["bo"]))


def _fill(number: int, user: str = "ana", start: int = 0) -> list[Reflection]:
    made = [
        Reflection(
            id=f"{user}-{index:05}",
            input=f"input {index}",
            output="Größe" if index % 2 else "size",
            tags=("even",) if index % 2 == 0 else ("odd", "other"),
            created_at=START + timedelta(seconds=index // 3),  # times alone do not tell them apart
            user_id=user,
            session_id=f"s-{index % 4}",
        )
        for index in range(start, start + number)
    ]
    stores.open_store(DOMAIN).put(made)
    return made


def test_a_reflection_needs_only_what_went_in_and_what_came_out(ana: Caller) -> None:
    answer = ana.post(ALL, {"input": "deploy", "output": "done"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["userId"], made["sessionId"], made["tags"]) == ("ana", "default", [])
    assert answer["Location"] == f"{ALL}/{made['id']}"
    again = ana.get(answer["Location"])
    assert (again.json(), again["ETag"]) == (made, answer["ETag"])
    assert ana.get(answer["Location"], If_None_Match=answer["ETag"]).status_code == 304


def test_a_reflection_is_saved_read_changed_and_deleted(ana: Caller) -> None:
    one = f"{ALL}/r-1"
    whole = {**BODY, "sessionId": "s", "score": 1e16}
    assert ana.put(one, whole).status_code == 201
    assert ana.get(one).json() == {**whole, "userId": "ana"}
    assert b'"score":10000000000000000' in ana.get(one).content
    replaced = ana.put(one, {"input": "i", "output": "o"})
    assert replaced.status_code == 200
    same = {"createdAt": BODY["createdAt"], "sessionId": "s"}
    assert replaced.json() == {"id": "r-1", "input": "i", "output": "o", "tags": [], "userId": "ana", **same}
    changed = ana.patch(one, {"notes": "n", "tags": ["x"], "colour": {"a": None, "b": 1}})
    assert (changed.json()["notes"], changed.json()["tags"], changed.json()["colour"]) == ("n", ["x"], {"b": 1})
    assert "notes" not in ana.patch(one, {"notes": None}).json()
    refused(ana.patch(one, {"id": "other"}), 400)
    refused(ana.patch(one, {"input": None}), 400)
    assert ana.delete(one).status_code == 204
    for answer in (ana.get(one), ana.delete(one), ana.patch(one, {})):
        refused(answer, 404, "not-found")


def test_a_null_where_a_field_may_be_missing_is_kept_and_no_session_is_the_default_one(ana: Caller) -> None:
    made = ana.post(ALL, {**BODY, "notes": None, "sessionId": None})
    assert (made.status_code, made.json()) == (201, {**BODY, "notes": None, "sessionId": "default", "userId": "ana"})
    one = made["Location"]
    assert ana.put(one, {**BODY, "sessionId": "s"}).json()["sessionId"] == "s"
    for changed in (ana.patch(one, {"sessionId": None}), ana.put(one, {**BODY, "sessionId": None})):
        assert (changed.status_code, changed.json()["sessionId"]) == (200, "default")
    within = "/api/v1/users/ana/sessions/default/reflections"
    assert [found["id"] for found in ana.get(within).json()["items"]] == [BODY["id"]]


def test_what_is_there_already_stays(ana: Caller) -> None:
    assert ana.post(ALL, BODY).status_code == 201
    assert ana.post(ALL, BODY).status_code == 201, "the same once more is no conflict"
    refused(ana.post(ALL, {**BODY, "output": "other"}), 409, "conflict")
    told = refused(ana.post(ALL, [{**BODY, "id": "r-2"}, {**BODY, "output": "other"}]), 409, "conflict")
    assert told["errors"] == [{"path": "$[1].id", "message": "is taken"}]
    assert [one["id"] for one in ana.get(ALL).json()["items"]] == ["r-1"]
    assert ana.get(f"{ALL}/r-1").json()["output"] == "done"


def test_another_users_id_is_free_and_tells_nothing(ana: Caller, bo: Caller) -> None:
    ana.post(ALL, BODY)
    others = "/api/v1/users/bo/reflections"
    refused(bo.get(f"{others}/r-1"), 404)
    refused(bo.delete(f"{others}/r-1"), 404)
    refused(bo.patch(f"{others}/r-1", {}), 404)
    his = {**BODY, "input": "of bo"}
    assert bo.post(others, his).status_code == 201
    assert bo.put(f"{others}/r-1", his).status_code == 200
    assert bo.post(others, [{**his, "id": "r-2"}]).status_code == 201
    assert ana.get(f"{ALL}/r-1").json() == {**BODY, "userId": "ana", "sessionId": "default"}
    assert {(one["userId"], one["input"]) for one in bo.get(others).json()["items"]} == {("bo", "of bo")}
    assert bo.delete(f"{others}/r-1").status_code == 204
    refused(bo.get(f"{others}/r-1"), 404)
    assert ana.get(f"{ALL}/r-1").status_code == 200


def test_many_are_created_at_once_or_none(ana: Caller) -> None:
    answer = ana.post(ALL, [{"input": str(number), "output": ""} for number in range(250)])
    assert answer.status_code == 201
    assert answer["Location"] == ALL
    assert [one["input"] for one in answer.json()] == [str(number) for number in range(250)]
    assert len({one["id"] for one in answer.json()}) == 250
    assert len(listed(ana, ALL)) == 250
    wrong = [{"input": "i", "output": "o"}, {"input": 1, "output": "o"}, 5, {"input": "i"}]
    paths = [one["path"] for one in refused(ana.post(ALL, wrong), 400)["errors"]]
    assert paths == ["$[1].input", "$[2]", "$[3].output"]
    twice = refused(ana.post(ALL, [BODY, BODY]), 409)["errors"]
    assert twice == [{"path": "$[1].id", "message": "stands in the list twice"}]
    refused(ana.post(ALL, [{"input": "", "output": ""}] * 1001), 400)
    assert len(listed(ana, ALL)) == 250
    assert ana.post(ALL, []).json() == []


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"input": 1}, "$.input"),
        ({"input": None}, "$.input"),
        ({"output": ["x"]}, "$.output"),
        ({"tags": "x"}, "$.tags"),
        ({"tags": [None]}, "$.tags[0]"),
        ({"id": ""}, "$.id"),
        ({"id": "x" * 256}, "$.id"),
        ({"id": 5}, "$.id"),
        ({"sessionId": ""}, "$.sessionId"),
        ({"userId": "bo"}, "$.userId"),
        ({"notes": 5}, "$.notes"),
        ({"createdAt": "2024-01-01T00:00:00"}, "$.createdAt"),
        ({"createdAt": "2024-02-30T00:00:00Z"}, "$.createdAt"),
        ({"createdAt": "2024-01-01T00:00:60Z"}, "$.createdAt"),
        ({"createdAt": "0001-01-01T00:00:00+14:00"}, "$.createdAt"),
        ({"createdAt": "infinity"}, "$.createdAt"),
        ({"createdAt": True}, "$.createdAt"),
        ({"score": 2**53 + 1}, "$.score"),
        ({"deep": {"a": ["\ud800"]}}, "$"),
        ({"input": "\x00"}, "$.input"),
    ],
)
def test_what_breaks_a_rule_is_told_by_its_path(ana: Caller, wrong: dict[str, Any], path: str) -> None:
    body = {**BODY, **wrong}
    told = refused(ana.post(ALL, body), 400, "invalid")
    assert next(one["path"] for one in told["errors"]).startswith(path)
    if "id" not in wrong:
        refused(ana.put(f"{ALL}/r-1", body), 400)
    assert ana.get(ALL).json()["items"] == []


@pytest.mark.parametrize("name", ["a/b", "..", ".", "%2F", "é\u0301🚀", "__proto__", "~x", "a b", "'\"<"])
def test_ids_of_every_kind_are_addresses(ana: Caller, name: str) -> None:
    made = ana.post(ALL, {**BODY, "id": name, "sessionId": name})
    assert made["Location"] == f"{ALL}/{segment(name)}"
    assert ana.get(made["Location"]).json()["id"] == name
    within = f"/api/v1/users/ana/sessions/{segment(name)}/reflections"
    assert [one["id"] for one in ana.get(within).json()["items"]] == [name]
    assert ana.delete(within).status_code == 204
    refused(ana.get(made["Location"]), 404)


def test_who_comes_between_a_look_and_a_list_is_not_overwritten(ana: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    [theirs] = _fill(1)
    monkeypatch.setattr(Reflections, "_refuse_taken", lambda *_: None)  # looked at before theirs came
    refused(ana.post(ALL, [BODY, {**BODY, "id": theirs.id}]), 409)
    assert [one["input"] for one in listed(ana, ALL)] == [theirs.input]


def test_who_comes_between_a_look_and_a_deletion_is_not_deleted(ana: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    [ours] = _fill(1)
    tag = ana.get(f"{ALL}/{ours.id}")["ETag"]
    stores.open_store(DOMAIN).put([msgspec.structs.replace(ours, output="theirs")])
    monkeypatch.setattr(ReflectionLog, "get_reflection", lambda *_: ours)  # read before theirs came
    refused(ana.delete(f"{ALL}/{ours.id}", If_Match=tag), 412)
    assert [one["output"] for one in listed(ana, ALL)] == ["theirs"]


def test_lists_are_filtered(ana: Caller) -> None:
    made = _fill(40)
    _fill(5, "bo")
    newest_first = sorted(made, key=lambda one: one.order, reverse=True)
    for query, wanted in (
        ("", lambda one: True),
        ("?session=s-1", lambda one: one.session_id == "s-1"),
        ("?tag=odd", lambda one: "odd" in one.tags),
        ("?tag=od", lambda one: False),
        ("?text=GR%C3%B6SSE", lambda one: one.output == "Größe"),
        ("?from=2024-01-01T00:00:05Z", lambda one: one.created_at >= START + timedelta(seconds=5)),
        ("?to=2024-01-01T01:00:05%2B01:00", lambda one: one.created_at < START + timedelta(seconds=5)),
        (
            "?from=2024-01-01T00:00:02Z&to=2024-01-01T00:00:03Z&tag=even&session=s-2&limit=7",
            lambda one: one.id == "ana-00006",
        ),
    ):
        shown = [one["id"] for one in listed(ana, ALL + query)]
        assert shown == [one.id for one in newest_first if wanted(one)], query
    within = [one["id"] for one in listed(ana, "/api/v1/users/ana/sessions/s-1/reflections?tag=odd&limit=3")]
    assert within == [one.id for one in newest_first if one.session_id == "s-1"]


@pytest.mark.parametrize(
    "query",
    ["from=2024-01-01T00:00:00", "from=x", "to=", "limit=0", "limit=101", "limit=-1", "limit=1e1", "limit=%D9%A1",
     "cursor=x", "cursor=", "unknown=1", "tag=a&tag=b", "text=%00", "sort=input", "user_id=bo"],
)  # fmt: skip
def test_queries_that_say_nothing_are_refused(ana: Caller, query: str) -> None:
    assert refused(ana.get(f"{ALL}?{query}"), 400)["errors"]


def test_a_cursor_goes_with_its_conditions_alone(ana: Caller) -> None:
    _fill(9)
    cursor = ana.get(f"{ALL}?limit=2").json()["next"].partition("cursor=")[2]
    assert ana.get(f"{ALL}?limit=5&cursor={cursor}").status_code == 200
    for other in (f"{ALL}?tag=odd&cursor={cursor}", f"/api/v1/users/ana/sessions/s-1/reflections?cursor={cursor}"):
        refused(ana.get(other), 400)


def test_sessions_are_listed_with_what_is_in_them(ana: Caller) -> None:
    made = _fill(10)
    _fill(3, "bo")
    sessions = listed(ana, "/api/v1/users/ana/sessions?limit=3")
    assert [(one["sessionId"], one["reflections"]) for one in sessions] == [
        ("s-0", 3),
        ("s-1", 3),
        ("s-2", 2),
        ("s-3", 2),
    ]
    newest = max(one.created_at for one in made if one.session_id == "s-0")
    assert datetime.fromisoformat(sessions[0]["newest"]) == newest


def test_a_session_is_deleted_for_its_user_alone(ana: Caller, bo: Caller) -> None:
    _fill(8)
    _fill(8, "bo")
    within = "/api/v1/users/ana/sessions/s-1/reflections"
    assert ana.delete(within).status_code == 204
    refused(ana.delete(within), 404)
    assert len(listed(ana, ALL)) == 6
    assert len(listed(bo, "/api/v1/users/bo/reflections")) == 8


def test_etags_are_asked_for_and_matched(ana: Caller, settings: Any) -> None:
    one = f"{ALL}/r-1"
    refused(ana.put(one, BODY, If_Match="*"), 412)
    first = ana.put(one, BODY, If_None_Match="*")
    refused(ana.put(one, BODY, If_None_Match="*"), 412)
    assert ana.put(one, {**BODY, "output": "2"}, If_Match=first["ETag"]).status_code == 200
    for method, body in (("PUT", BODY), ("PATCH", {"output": "3"}), ("DELETE", None)):
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        refused(ana(method, one, body, kind=kind, If_Match=first["ETag"]), 412, "precondition-failed")
        settings.ORB_API_REQUIRE_IF_MATCH = True
        refused(ana(method, one, body, kind=kind), 428)
        settings.ORB_API_REQUIRE_IF_MATCH = False
    assert ana.get(one).json()["output"] == "2"
    assert ana.delete(one, If_Match=ana.get(one)["ETag"]).status_code == 204


def test_the_same_key_and_body_have_the_same_answer(ana: Caller) -> None:
    for body in ({"input": "i", "output": "o"}, [{"input": "i", "output": "o"}] * 2):
        key = f"key-{isinstance(body, list)}"
        first, again = (ana.post(ALL, body, Idempotency_Key=key) for _ in range(2))
        assert first.status_code == again.status_code == 201
        assert (first.content, first["Location"]) == (again.content, again["Location"])
        assert again["Idempotent-Replayed"] == "true"
        refused(ana.post(ALL, {"input": "other", "output": "o"}, Idempotency_Key=key), 422, "key-reused")
    assert len(listed(ana, ALL)) == 3
    refused(ana.post(ALL, {"input": 1}, Idempotency_Key="mended"), 400)
    assert ana.post(ALL, {"input": "1", "output": ""}, Idempotency_Key="mended").status_code == 201


@pytest.mark.slow
def test_a_walk_meets_each_old_one_once_while_others_are_added(ana: Caller, mode: str) -> None:
    """The writer adds a few between any two pages, among the newest, the oldest, and in the middle."""
    made = {one.id for one in _fill(10_000)}
    store, added = stores.open_store(DOMAIN), 0
    following, seen = f"{ALL}?limit=100", list[str]()
    while following:
        page = ana.get(following).json()
        seen += [one["id"] for one in page["items"]]
        following = page["next"]
        fresh = []
        for number in range(10):
            moment = START + timedelta(seconds=(added * 7919) % 3400, milliseconds=number)
            fresh.append(Reflection(id=f"{'a' if number % 2 else 'z'}-new-{added}", input="", output="", tags=(), created_at=moment,
                                    user_id="ana", session_id="s-0"))  # fmt: skip
            added += 1
        store.put(fresh)
    assert added >= 1000
    assert len(seen) == len(set(seen))
    assert made <= set(seen)


@pytest.mark.slow
def test_a_walk_is_whole_while_a_thread_writes(ana: Caller, mode: str) -> None:
    if mode == "sql":  # a test's transaction is one connection's; tests/api/test_served.py serves SQL to several
        _fill(300)
        assert len({one["id"] for one in listed(ana, f"{ALL}?limit=7")}) == 300
        return
    made = {one.id for one in _fill(2_000)}
    store, done = stores.open_store(DOMAIN), threading.Event()

    def write() -> None:
        for number in range(1000):
            moment = START + timedelta(milliseconds=number * 660)
            store.put(
                [
                    Reflection(
                        id=f"n-{number}", input="", output="", tags=(), created_at=moment, user_id="ana", session_id="x"
                    )
                ]
            )
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    walks = 0
    while not walks or not done.is_set():
        seen = [one["id"] for one in listed(ana, f"{ALL}?limit=100") if not one["id"].startswith("n-")]
        assert len(seen) == len(made)
        assert set(seen) == made
        walks += 1
    writer.join()


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize("raw", ["2024-01-01T00:00:00+02:00", "2024-01-01T00:00:00.5+0200", "2024-01-01T00+02"])
def test_a_raw_plus_in_a_time_says_how_to_write_it(ana: Caller, name: str, raw: str) -> None:
    told = refused(ana.get(f"/api/v1/users/ana/reflections?{name}={raw}"), 400)
    assert told["errors"][0]["path"] == name
    assert "write it as %2B" in told["errors"][0]["message"]
    assert ana.get(f"/api/v1/users/ana/reflections?{name}={raw.replace('+', '%2B')}").status_code == 200
    told = refused(ana.get(f"/api/v1/users/ana/reflections?{name}=no time"), 400)
    assert "%2B" not in told["errors"][0]["message"]
