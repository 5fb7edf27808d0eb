"""Te's casters over the sample, over generated data and over odd data, and documents of version 2 in stores."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.errors import NewerVersion
from orbsite.storage.file.compaction import compacted
from orbsite.storage.file.content import Content, entries
from orbsite.storage.file.document import Document
from orbsite.storage.file.erasure import without_user
from orbsite.storage.file.store import FileStore
from orbsite.storage.records.versions import MARK
from te.domain import DOMAIN
from te.ownership import users_of
from te.records import Reflection
from te.versions import VERSIONS
from tests.support.factories import ReflectionFactory
from tests.te.test_layout import item


def owned(name: str, user: str = "ana", session: str = "s", **fields: Any) -> dict[str, Any]:
    return item(name, **fields) | {"userId": user, "sessionId": session}


def document(items: list[Any], users: Any, **members: Any) -> dict[str, Any]:
    return {**members, "sessions": {"s": items}, "userSessions": users}


@pytest.mark.parametrize(
    ("users", "said", "owner", "warned"),
    [
        ({"ana": ["s"]}, {}, "ana", False),
        ({"bo": ["s"], "ana": ["s"]}, {}, "bo", True),
        ({"bo": ["s"], "7": ["s"]}, {}, "7", True),
        ({"bo": ["s"], "ana": ["s"]}, {"userId": "ana"}, "ana", False),
        ({}, {}, "default-user", True),
        ({"ana": 5}, {"userId": None}, "default-user", True),
        ({"ana": ["s"]}, {"userId": 5}, 5, False),
    ],
)
def test_every_item_gets_its_owner_and_its_session_and_a_guess_is_told(
    users: Any, said: Any, owner: Any, warned: bool
) -> None:
    done = VERSIONS.cast(document([item("a", score=1) | said, 5], users), 2)
    assert done.tree == document([owned("a", owner, score=1), 5], users, **{MARK: 2})
    assert [one.path for one in done.notes] == (["$.sessions.s[0]"] if warned else [])


@pytest.mark.parametrize(
    ("users", "held", "kept"),
    [
        ({"ana": ["s"]}, {"userId": "ana", "sessionId": "s"}, {}),
        ({"ana": ["s"]}, {"userId": "bo", "sessionId": "s"}, {"userId": "bo"}),
        ({"ana": ["s"], "bo": ["s"]}, {"userId": "ana", "sessionId": "s"}, {"userId": "ana"}),
        ({}, {"userId": "default-user", "sessionId": "s"}, {}),
        ({"ana": ["s"]}, {"userId": None, "sessionId": "t"}, {"userId": None, "sessionId": "t"}),
        ({"ana": ["s"]}, {}, {}),
    ],
)
def test_only_what_the_place_of_an_item_tells_is_left_out(users: Any, held: Any, kept: Any) -> None:
    done = VERSIONS.cast(document([item("a", later=[1]) | held], users, **{MARK: 2}), 1)
    assert (done.tree, done.lost) == (document([item("a", later=[1]) | kept], users), [])


def test_the_sample_comes_back_with_the_users_that_every_save_adds_and_nothing_else(sample: Path) -> None:
    data = (sample / DOMAIN.file).read_bytes()
    tree = json.loads(data)
    up = VERSIONS.cast(tree, 2)
    assert all({"userId", "sessionId"} <= one.keys() for items in up.tree["sessions"].values() for one in items)
    shared = {name for name in tree["sessions"] if sum(name in one for one in tree["userSessions"].values()) != 1}
    assert {one.path.split(".")[2].partition("[")[0] for one in up.notes} == shared
    assert 0 < len(up.notes) < 142
    down = VERSIONS.cast(up.tree, 1)
    assert (stringify(down.tree), down.lost) == (Content(DOMAIN, data).encode(), [])
    again = VERSIONS.cast(VERSIONS.cast(down.tree, 2).tree, 0)
    assert (again.tree, again.lost) == (down.tree, [])
    for items in down.tree["sessions"].values():
        for one in items:
            one.pop("userId", None)
    assert stringify(down.tree) == data


NAMES = st.sampled_from(["ana", "7", "42", "__proto__", "é", "schemaVersion", "default-user", ""])
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=3)
UNKNOWN = st.dictionaries(st.sampled_from(["score", "summary"]), st.none() | st.integers(0, 3) | TEXTS, max_size=2)
ITEMS = st.builds(
    lambda name, fields, unknown: item(name) | fields | unknown,
    st.sampled_from(["a", "b", "c"]),
    st.fixed_dictionaries({}, optional={"notes": TEXTS, "userId": NAMES, "input": st.just(5)}),
    UNKNOWN,
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "sessions": st.dictionaries(NAMES, st.lists(ITEMS | st.just(None) | st.just({"x": 1}), max_size=3) | st.just({}), max_size=3),
        "userSessions": st.dictionaries(NAMES, st.lists(NAMES, max_size=3) | st.just(5), max_size=3),
    },
    optional={"later": st.just({"x": [1]})},
)  # fmt: skip


def owners(tree: Any) -> Any:
    """Return the owner of each item, by its place, as the item or its place tells it."""
    users = users_of(tree["userSessions"])
    return {
        (session, at): one.get("userId", users.get(session, ["default-user"])[0])
        for session, items in tree["sessions"].items()
        for at, one in enumerate(items)
        if isinstance(one, dict)
    }


def without_owners(tree: Any) -> Any:
    for one in (one for items in tree["sessions"].values() for one in items if isinstance(one, dict)):
        one.pop("userId", None)
    return tree


@given(DOCUMENTS)
def test_a_document_as_stores_write_it_survives_the_whole_way(tree: Any) -> None:
    at = json.loads(Content(DOMAIN, stringify(tree)).encode())
    before = copy.deepcopy(at)
    for version in (0, 1, 2, 1, 0):
        done = VERSIONS.cast(at, version)
        assert done.lost == []
        at = done.tree
    assert owners(at) == owners(before)
    assert VERSIONS.cast(VERSIONS.cast(at, 2).tree, 1).tree == at
    assert without_owners(at) == without_owners(before)


@given(DOCUMENTS)
def test_a_store_reads_the_same_records_from_version_2_and_prints_what_the_caster_does(tree: Any) -> None:
    plain = Content(DOMAIN, stringify(tree))
    data = stringify(VERSIONS.cast(json.loads(plain.encode()), 2).tree)
    marked = Content(DOMAIN, data)
    assert marked.encode() == data
    assert list(marked.view.walk(Reflection)) == list(plain.view.walk(Reflection))
    assert [one.place for one in marked.invalid] == [one.place for one in plain.invalid]
    back = Content(DOMAIN, stringify(VERSIONS.cast(json.loads(data), 1).tree))
    assert list(back.view.walk(Reflection)) == list(plain.view.walk(Reflection))


def test_the_fast_way_and_the_slow_way_read_the_same() -> None:
    tree = document([owned("a"), owned("b", "bo")], {"ana": ["s"], "bo": ["s"]}, **{MARK: 2})
    fast = DOMAIN.layout.decode_whole(stringify(tree))
    assert fast is not None
    assert fast[1] == [one.record for one in entries(DOMAIN, stringify(tree)) if one.record]
    assert stringify(DOMAIN.layout.encode(fast[0])) == stringify(tree)
    for odd in (item("c"), owned("c", session="t"), owned("c", score=1), item("c", userId="ana")):
        tree["sessions"]["s"][1] = odd
        assert DOMAIN.layout.decode_whole(stringify(tree)) is None


@pytest.mark.parametrize("above", [None, 0], ids=["document", "journal"])
def test_what_is_saved_into_version_2_has_owner_and_session(data_dir: Path, above: int | None) -> None:
    path = data_dir / DOMAIN.file
    path.parent.mkdir(mode=0o700)
    before = document([owned("a"), item("old"), {"bad": 1}], {"ana": ["s"]}, **{MARK: 2, "later": [1]})
    path.write_bytes(stringify(before))
    store = FileStore(DOMAIN, Document(data_dir, DOMAIN.file), journal_above=above)
    store.put([ReflectionFactory(id="b", user_id="bo", session_id="t"), ReflectionFactory(id="c", session_id="s")])
    assert FileStore(DOMAIN, Document(data_dir, DOMAIN.file)).count(Reflection) == 4
    store.fold()
    after = json.loads(path.read_bytes())
    assert list(after) == [MARK, "later", "sessions", "userSessions"]
    assert after["sessions"]["s"][:3] == [owned("a"), owned("old"), {"bad": 1}]
    new = (*after["sessions"]["s"][3:], *after["sessions"]["t"])
    told = [(one["id"], one["userId"], one["sessionId"]) for one in new]
    assert told == [("c", "ana", "s"), ("b", "bo", "t")]
    for user in ("ana", "bo"):
        store.delete_where(Reflection, {"user_id": user})
    store.fold()
    assert json.loads(path.read_bytes()) == document([{"bad": 1}], {"ana": ["s"]}, **{MARK: 2, "later": [1]})


def test_an_erasure_and_a_compaction_keep_the_version() -> None:
    tree = document([owned("a"), owned("b", "bo"), {"bad": 1}], {"ana": ["s"], "bo": ["s"]}, **{MARK: 2})
    erased = without_user(DOMAIN, stringify(tree), "bo", ())[0]
    assert json.loads(erased) == document([owned("a"), {"bad": 1}], {"ana": ["s"]}, **{MARK: 2})
    compact = compacted(DOMAIN, stringify(tree)).content.encode()
    assert json.loads(compact) == document([owned("a"), owned("b", "bo")], {"ana": ["s"], "bo": ["s"]}, **{MARK: 2})


@pytest.mark.parametrize("mark", ["2", True, None, 2.5, [], -1, 0, 1])
def test_without_version_2_items_are_kept_as_they_are(mark: Any) -> None:
    tree = document([owned("a"), item("b")], {"ana": ["s"]}, **{MARK: mark})
    content = Content(DOMAIN, stringify(tree))
    content.upsert([ReflectionFactory(id="c", session_id="s")], None)
    after = json.loads(content.encode())
    assert after[MARK] == mark
    assert ["userId" in one for one in after["sessions"]["s"]] == [False, False, False]
    assert ["sessionId" in one for one in after["sessions"]["s"]] == [True, False, False]


@pytest.mark.parametrize("name", [MARK, "userSessions", "__proto__"])
def test_a_session_and_a_user_may_be_called_as_the_mark(name: str) -> None:
    content = Content(DOMAIN, stringify({MARK: 2, "sessions": {}, "userSessions": {}}))
    content.upsert([ReflectionFactory(id="a", user_id=name, session_id=name)], None)
    again = Content(DOMAIN, content.encode())
    assert [one.key for one in again.view.walk(Reflection)] == [(name, "a")]
    assert VERSIONS.version_of(json.loads(content.encode())) == 2


@pytest.mark.parametrize("mark", [b"3", b"3.0", b"9" * 5000])
@pytest.mark.parametrize(
    "form", [b'{"schemaVersion":%s,"sessions":{},"userSessions":{}}', b'{"sessions":{},"\\u0073chemaVersion":%s}']
)
def test_a_newer_document_is_refused_for_reading_and_writing_and_no_byte_changes(
    data_dir: Path, form: bytes, mark: bytes
) -> None:
    path = data_dir / DOMAIN.file
    path.parent.mkdir(mode=0o700)
    path.write_bytes(form % mark)
    store = FileStore(DOMAIN, Document(data_dir, DOMAIN.file))
    for act in (
        lambda: store.find(Reflection),
        lambda: store.put([ReflectionFactory()]),
        lambda: store.replace(b"{}"),
        lambda: store.compact(lambda _: None),
    ):
        with pytest.raises(NewerVersion, match="reflections.json: .* has schema version .* knows versions up to 2"):
            act()
    assert path.read_bytes() == form % mark
