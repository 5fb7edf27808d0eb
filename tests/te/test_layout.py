from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from orbsite.storage.errors import DocumentCorrupt, RecordUnreadable
from orbsite.storage.file.content import Content, entries
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.records.changes import StepReader
from orbsite.storage.records.record import Extra
from te.domain import DOMAIN
from te.records import Reflection
from tests.support.factories import ReflectionFactory, moment


def item(name: str, **fields: Any) -> dict[str, Any]:
    whole = {"id": name, "input": "i", "output": "o", "tags": [], "createdAt": "2024-01-01T00:00:00.000Z"}
    return whole | fields


def decoded(tree: Any) -> tuple[list[Any], list[tuple[str, str]]]:
    found = list(entries(DOMAIN, tree if isinstance(tree, bytes) else json.dumps(tree).encode()))
    records = [entry.record for entry in found if entry.record is not None]
    return records, [(one.path, one.severity.value) for entry in found for one in entry.findings]


def content(**tree: Any) -> Content:
    return Content(DOMAIN, json.dumps(tree).encode())


def printed(held: Content) -> Any:
    return json.loads(held.encode())


@pytest.mark.parametrize(
    "data",
    [b"[]", b"null", b"5", b'{"sessions":[]}', b'{"sessions":null}', b'{"userSessions":[]}', b'{"sessions":{', b"\xff"],
)
def test_a_document_without_its_objects_is_corrupt(data: bytes) -> None:
    with pytest.raises(DocumentCorrupt):
        entries(DOMAIN, data)


@pytest.mark.parametrize(
    ("sessions", "users", "found"),
    [
        ({"s": {}}, {"ana": ["s"]}, [("$.sessions.s", "error")]),
        ({"s": None}, {"ana": ["s"]}, [("$.sessions.s", "error")]),
        ({"s": [[]]}, {"ana": ["s"]}, [("$.sessions.s[0]", "error")]),
        ({"s": [item("a"), item("b", tags={}, input=1)]}, {"ana": ["s"]},
         [("$.sessions.s[1].input", "error"), ("$.sessions.s[1].tags", "error")]),
        ({"s": [item("a", sessionId="t")]}, {"ana": ["s"]}, [("$.sessions.s[0].sessionId", "error")]),
        ({"s": [item("a", createdAt="2024-01-01")]}, {"ana": ["s"]}, [("$.sessions.s[0].createdAt", "warning")]),
        ({"": [item("a")]}, {"ana": [""]}, [('$.sessions[""]', "error")]),
        ({}, {"ana": {"0": "s"}}, [("$.userSessions.ana", "warning")]),
        ({}, {"ana": ["s", 5]}, [("$.userSessions.ana", "warning")]),
        ({}, {"": ["s"]}, [('$.userSessions[""]', "warning")]),
        ({"s": []}, {"ana": ["s"]}, []),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_with_its_path_and_the_rest_is_read(
    sessions: Any, users: Any, found: list[tuple[str, str]]
) -> None:
    records, findings = decoded(
        {"sessions": {**sessions, "cy's": [item("z")]}, "userSessions": {**users, "cy": ["cy's"]}}
    )
    assert findings == found
    assert [record.user_id for record in records if record.key == ("cy", "z")] == ["cy"]


BEYOND = [b"1e400", b"9" * 5000, b"[" * 120 + b"]" * 120]


@pytest.mark.parametrize("wrong", BEYOND, ids=["huge", "digits", "deep"])
@pytest.mark.parametrize(
    ("part", "path"),
    [
        (b'{"sessions":{"s":[%s],"t":[%s]},"userSessions":{"ana":["s","t"]}}', "$.sessions.s[0]"),
        (b'{"sessions":{"s":{"x":%s},"t":[%s]},"userSessions":{"ana":["s","t"]}}', "$.sessions.s"),
        (b'{"later":%s,"sessions":{"t":[%s]},"userSessions":{"ana":["t"]}}', "$.later"),
        (b'{"userSessions":{"bo":%s,"ana":["t"]},"sessions":{"t":[%s]}}', "$.userSessions.bo"),
    ],
)
def test_a_value_beyond_all_bounds_does_not_keep_the_rest_from_being_read(part: bytes, path: str, wrong: bytes) -> None:
    records, findings = decoded(part % (wrong, json.dumps(item("a")).encode()))
    assert [(record.key, record.user_id) for record in records] == [(("ana", "a"), "ana")]
    assert {found for found, _ in findings} <= {path}


def test_records_know_their_place_their_session_and_their_owner() -> None:
    tree = {"userSessions": {"ana": ["t"]}, "sessions": {"t": [item("b"), 5, item("a")]}}
    found = [entry for entry in entries(DOMAIN, json.dumps(tree).encode()) if entry.kind]
    assert [(entry.place, entry.position) for entry in found] == [(("sessions", "t", n), n) for n in range(3)]
    assert [entry.record and (entry.record.id, entry.record.user_id, entry.record.session_id) for entry in found] == [
        ("b", "ana", "t"), None, ("a", "ana", "t"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("users", "said", "owner", "warned"),
    [
        ({"ana": ["s"]}, None, "ana", False),
        ({"bo": ["s"], "ana": ["s"]}, None, "bo", True),
        ({"bo": ["s"], "7": ["s"]}, None, "7", True),
        ({"bo": ["s"], "ana": ["s"]}, "ana", "ana", False),
        ({"bo": ["s"]}, "ana", "ana", False),
        ({}, None, "default-user", True),
        ({"ana": ["t"]}, None, "default-user", True),
        ({"ana": 5, "bo": ["s"]}, None, "bo", True),
    ],
)
def test_the_owner_is_who_the_item_names_or_who_is_listed_first(
    users: Any, said: str | None, owner: str, warned: bool
) -> None:
    one = item("a") if said is None else item("a", userId=said)
    records, findings = decoded({"sessions": {"s": [one]}, "userSessions": users})
    assert [record.user_id for record in records] == [owner]
    assert bool(findings) == warned
    assert all(severity == "warning" for _, severity in findings)


@pytest.mark.parametrize(
    ("users", "said"),
    [({"ana": ["s"]}, None), ({"ana": ["s", "s"]}, None), ({}, None), ({"ana": ["s"], "bo": ["s"]}, "ana")],
)
def test_an_item_says_its_user_where_its_session_has_several_and_only_there(users: Any, said: str | None) -> None:
    held = content(sessions={"s": [item("a")]}, userSessions=users)
    assert [one.get("userId") for one in printed(held)["sessions"]["s"]] == [said]
    assert [one.get("userId") for one in printed(Content(DOMAIN, held.encode()))["sessions"]["s"]] == [said]


def test_an_item_of_somebody_who_is_not_listed_keeps_saying_whose_it_is() -> None:
    tree = {"sessions": {"s": [item("a", userId="ana")]}, "userSessions": {"bo": ["s"]}}
    assert printed(content(**tree)) == tree


def test_a_second_user_of_a_session_makes_every_item_say_its_user() -> None:
    held = content(sessions={"s": [item("a")]})
    held.upsert([ReflectionFactory(id="b", user_id="ana", session_id="s")], None)
    assert printed(held)["userSessions"] == {"default-user": ["s"], "ana": ["s"]}
    assert [one["userId"] for one in printed(held)["sessions"]["s"]] == ["default-user", "ana"]


@pytest.mark.parametrize(
    ("again", "severity"), [(item("a"), "warning"), (item("a", input="other"), "error"), (item("a", x=1), "error")]
)
def test_of_an_id_that_comes_twice_the_first_counts_and_both_are_kept(again: Any, severity: str) -> None:
    tree = {"sessions": {"s": [item("a"), again, item("b")]}, "userSessions": {"ana": ["s"]}}
    found = list(entries(DOMAIN, json.dumps(tree).encode()))
    assert [(one.path, one.severity) for entry in found for one in entry.findings] == [("$.sessions.s[1]", severity)]
    assert [entry.copy for entry in found if entry.place[-1:] == (1,)] == [severity == "warning"]
    held = content(**tree)
    assert [one.input for one in held.view.walk(Reflection)] == ["i", "i"]
    held.upsert([ReflectionFactory(id="c", session_id="s")], None)
    assert printed(held)["sessions"]["s"][:3] == [item("a"), again, item("b")]


@pytest.mark.parametrize("said", [{}, {"sessionId": "s"}, {"userId": "ana"}, {"createdAt": "2024-01-01T00:00:00Z"}])
def test_a_deleted_record_does_not_come_back_as_its_equal_copy(said: dict[str, str]) -> None:
    held = content(sessions={"s": [item("a"), item("b"), item("a", **said)]}, userSessions={"ana": ["s"]})
    assert held.delete(Reflection, [("ana", "a")], None) == 1
    assert [one.id for one in Content(DOMAIN, held.encode()).view.walk(Reflection)] == ["b"]


def test_a_journal_of_an_earlier_version_removes_by_the_id_alone() -> None:
    data = content(sessions={"s": [item("a"), item("b")]}, userSessions={"ana": ["s"]}).encode()
    (step,) = StepReader(DOMAIN).read([msgspec.Raw(b'{"delete":"reflections","key":["a"]}')])
    held = Content(DOMAIN, data)
    held.replay([step, step])
    assert [one.key for one in held.view.walk(Reflection)] == [("ana", "b")]
    held = Content(DOMAIN, data)
    held.upsert([ReflectionFactory(id="a", user_id="bo")], None)
    with pytest.raises(DocumentCorrupt, match="several users have"):
        held.replay([step])
    assert held.view.count(Reflection) == 3


def test_users_who_share_ids_and_a_session_are_told_apart_in_every_place() -> None:
    held = content(sessions={"s": [item("a"), item("b")]}, userSessions={"ana": ["s"]})
    theirs = [ReflectionFactory(id=name, user_id="bo", session_id="s", input="his") for name in "ba"]
    held.upsert(theirs, None)
    again = Content(DOMAIN, held.encode())
    assert again.places([theirs[1], again.view.fetch(Reflection, [("ana", "a")])["ana", "a"]]) == {
        ("bo", "a"): 3, ("ana", "a"): 0,
    }  # fmt: skip
    assert again.delete(Reflection, [("ana", "a")], None) == 1
    assert [(one["userId"], one["id"]) for one in printed(again)["sessions"]["s"]] == [
        ("ana", "b"),
        ("bo", "b"),
        ("bo", "a"),
    ]
    again.drop_many(Reflection, [theirs[0]])
    again.put_back([(theirs[0], 0)])
    assert [(one["userId"], one["id"]) for one in printed(again)["sessions"]["s"]] == [
        ("bo", "b"),
        ("ana", "b"),
        ("bo", "a"),
    ]


def test_an_item_of_one_user_that_does_not_decode_is_not_in_the_way_of_another() -> None:
    held = content(sessions={"s": [{"id": "a", "userId": "bo"}, {"id": "b"}]}, userSessions={"ana": ["s"]})
    held.upsert([ReflectionFactory(id="a", user_id="ana", session_id="s")], None)
    with pytest.raises(RecordUnreadable):
        held.upsert([ReflectionFactory(id="a", user_id="bo", session_id="s")], None)
    with pytest.raises(RecordUnreadable):
        held.upsert([ReflectionFactory(id="b", user_id="ana", session_id="s")], None)
    held.upsert([ReflectionFactory(id="b", user_id="bo", session_id="s")], None)


def test_a_change_from_one_to_true_is_a_change() -> None:
    held = content(sessions={"s": [item("a", score=1)]}, userSessions={"ana": ["s"]})
    held.upsert([structs.replace(*held.view.walk(Reflection), extra=Extra(score=True))], None)
    assert printed(held)["sessions"]["s"][0]["score"] is True


@pytest.mark.parametrize("name", ["notes", "userId", "sessionId"])
def test_an_explicit_null_is_kept(name: str) -> None:
    held = content(sessions={"s": [item("a", **{name: None})]}, userSessions={"ana": ["s"]})
    assert printed(held)["sessions"]["s"] == [item("a", **{name: None})]


def test_unknown_keys_and_items_that_do_not_decode_survive_every_save_in_their_places(data_dir: Path) -> None:
    bad = [None, {"id": "bad", "x": {"10": 1.5, "9": "ü\u2028"}}, []]
    ana = ["s", "42", 5]
    tree = {
        "version": {"a": [2]},
        "sessions": {"t": {"odd": 1}, "s": [bad[0], item("a"), bad[1], bad[2]], "42": [item("b", score=1.5)]},
        "later": None,
        "userSessions": {"bo": {"0": "s"}, "ana": ana},
    }
    path = data_dir / DOMAIN.file
    path.parent.mkdir(mode=0o700)
    path.write_bytes(json.dumps(tree).encode())
    store = FileStore(DOMAIN, Document(data_dir, DOMAIN.file))
    new = [
        ReflectionFactory(id=name, user_id="ana", session_id=session)
        for name, session in zip("cde", ["s", "7", "s"], strict=True)
    ]
    store.put(new)
    after = json.loads(path.read_bytes())
    assert list(after) == list(tree)
    assert list(after["sessions"]) == ["7", "42", "t", "s"]
    assert after["sessions"]["s"] == [bad[0], item("a"), bad[1], bad[2], *(plain(new[n]) for n in (0, 2))]
    assert after["userSessions"] == {"bo": {"0": "s"}, "ana": [*ana, "7"]}
    for record in (ReflectionFactory(id="bad"), ReflectionFactory(session_id="t"), ReflectionFactory(user_id="bo")):
        with pytest.raises(RecordUnreadable, match="validate_orb_files"):
            store.put([record])
    store.delete(Reflection, [record.key for record in new])
    assert json.loads(path.read_bytes()) == tree


def plain(record: Reflection) -> dict[str, Any]:
    return {name: value for name, value in record.as_json().items() if name not in ("userId", "sessionId")}


def test_a_file_of_the_earlier_system_gains_users_in_shared_sessions_and_changes_nowhere_else(sample: Path) -> None:
    data = (sample / DOMAIN.file).read_bytes()
    held = Content(DOMAIN, data)
    assert held.view.count(Reflection) == 142
    tree = printed(held)
    assert list(tree["sessions"]) == list(json.loads(data)["sessions"])
    for session, items in tree["sessions"].items():
        users = [user for user, listed in tree["userSessions"].items() if session in listed]
        assert {one.pop("userId", None) for one in items} == ({users[0]} if len(users) > 1 else {None})
    assert json.dumps(tree, indent=2, ensure_ascii=False).encode() == data
    assert Content(DOMAIN, held.encode()).encode() == held.encode()


NAMES = st.sampled_from(["ana", "7", "42", "__proto__", "é", "default-user"])
IDS = st.sampled_from(["a", "b", "c", "1", "bad"])
PUT = st.builds(
    ReflectionFactory.build, id=IDS, user_id=NAMES, session_id=NAMES, created_at=st.integers(0, 3).map(moment),
    notes=st.none() | st.text("a\x7fü", max_size=2),
)  # fmt: skip
LISTED = st.dictionaries(NAMES, st.lists(NAMES, max_size=3), max_size=3)
SESSIONS = st.dictionaries(NAMES, st.lists(IDS | st.just("x"), max_size=3, unique=True), max_size=3)


@given(LISTED, SESSIONS, st.lists(PUT | st.tuples(NAMES, IDS), max_size=15))
def test_what_was_put_and_not_deleted_is_there_after_a_round_trip(
    listed: dict[str, list[str]], sessions: dict[str, list[str]], steps: list[Any]
) -> None:
    first = dict.fromkeys(name for session in sessions.values() for name in session)
    begin = {s: [item(n) for n in names if first.pop(n, s) is None] for s, names in sessions.items()}
    held = content(sessions=begin | {"odd": [{"id": "bad"}]}, userSessions=listed)
    expected = {one.key: one for one in held.view.walk(Reflection)}
    for step in steps:
        if isinstance(step, tuple):
            assert held.delete(Reflection, [step], None) == (expected.pop(step, None) is not None)
            continue
        try:
            held.upsert([step], None)
        except RecordUnreadable:
            continue
        expected[step.key] = step
    again = Content(DOMAIN, held.encode())
    assert {one.key: one for one in again.view.walk(Reflection)} == expected
    assert printed(again)["sessions"]["odd"] == [{"id": "bad"}]
    assert again.encode() == held.encode()


def test_a_record_is_not_taken_away_where_a_refused_copy_would_count_then() -> None:
    held = content(
        sessions={"s": [item("a", input="v1")], "r": [item("a", input="v2")]}, userSessions={"ana": ["s", "r"]}
    )
    first = held.view.fetch(Reflection, [("ana", "a")])["ana", "a"]
    with pytest.raises(RecordUnreadable, match=r"\$.sessions.r\[0\]"):
        held.upsert([structs.replace(first, session_id="z")], None)
    with pytest.raises(RecordUnreadable):
        held.delete(Reflection, [("ana", "a")], None)
    held.upsert([structs.replace(first, input="v3")], None)
    assert [one["input"] for items in printed(held)["sessions"].values() for one in items] == ["v3", "v2"]
