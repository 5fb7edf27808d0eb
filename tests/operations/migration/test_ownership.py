"""Whose an old item is where several users share its session: a user who has its id in SQL keeps it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orbsite.operations.migration.migrate import migrate
from orbsite.operations.migration.verify import verify
from orbsite.storage.clock import utc_now
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from te.records import Reflection
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db


def item(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "input": "i", "output": "o", "tags": [], "createdAt": "2024-01-01T00:00:00.000Z", **more}


def put(base: Path, sessions: dict[str, list[Any]], users: dict[str, list[str]]) -> None:
    path = base / DOMAIN.file
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps({"sessions": sessions, "userSessions": users}))
    path.chmod(0o600)


def moved(base: Path) -> dict[str, int]:
    report = migrate([DOMAIN], base, now=utc_now)
    assert verify([DOMAIN], base).ok or report.domains["te"].total("kept")
    counts = report.domains["te"].counts["reflections"]
    return {what: number for what, number in counts.items() if number}


def owners(store: SqlStore) -> set[tuple[str, str, str]]:
    return {(*one.key, one.input) for one in store.walk(Reflection)}


@pytest.fixture
def store() -> SqlStore:
    return SqlStore(DOMAIN)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_it_stays_with_the_listed_user_who_has_it_in_sql(base: Path, store: SqlStore) -> None:
    users = {"ana": ["s"], "bo": ["s"], "cy": ["s"]}
    put(base, {"s": [item("x"), item("y")]}, {"bo": ["s"]})
    assert moved(base) == {"read": 2, "new": 2}
    put(base, {"s": [item("x"), item("y", input="changed"), item("z")]}, users)
    assert moved(base) == {"read": 3, "new": 1, "unchanged": 1, "replaced": 1}
    assert owners(store) == {("bo", "x", "i"), ("bo", "y", "changed"), ("ana", "z", "i")}
    assert moved(base) == {"read": 3, "unchanged": 3}


def test_an_id_of_a_user_who_is_not_listed_is_another_users(base: Path, store: SqlStore) -> None:
    store.put([ReflectionFactory(id="x", user_id="eve", input="hers")])
    put(base, {"s": [item("x")]}, {"ana": ["s"], "bo": ["s"]})
    migrate([DOMAIN], base, now=utc_now)
    assert owners(store) == {("eve", "x", "hers"), ("ana", "x", "i")}


def test_the_first_listed_user_keeps_what_several_have(base: Path, store: SqlStore) -> None:
    store.put(
        [
            ReflectionFactory(id="x", user_id=user, input="i", output="o", tags=(), session_id="s")
            for user in ("ana", "bo")
        ]
    )
    put(base, {"s": [item("x", createdAt="2024-02-01T00:00:00.000Z")]}, {"ana": ["s"], "bo": ["s"]})
    report = migrate([DOMAIN], base, now=utc_now)
    assert report.domains["te"].total("kept") == 1
    assert len(owners(store)) == 2


@pytest.mark.parametrize("is_first", [True, False])
def test_what_the_file_itself_says_to_be_the_users_is_not_given_twice(
    base: Path, store: SqlStore, *, is_first: bool
) -> None:
    store.put([ReflectionFactory(id="x", user_id="bo", input="before", session_id="s")])
    said, open_ = item("x", input="said", userId="bo"), item("x", input="open")
    sessions = {"t": [said], "s": [open_]} if is_first else {"s": [open_], "t": [said]}
    put(base, sessions, {"ana": ["s"], "bo": ["s", "t"]})
    assert moved(base) == {"read": 2, "new": 1, "kept": 1}
    assert owners(store) == {("bo", "x", "before"), ("ana", "x", "open")}


def test_of_two_open_items_with_an_id_the_first_goes_to_who_has_it(base: Path, store: SqlStore) -> None:
    put(base, {"s": [item("x", input="first")]}, {"bo": ["s"]})
    moved(base)
    sessions = {"s": [item("x", input="first")], "t": [item("x", input="second")]}
    put(base, sessions, {"ana": ["s"], "cy": ["t"], "bo": ["s", "t"]})
    assert moved(base) == {"read": 2, "new": 1, "unchanged": 1}
    assert owners(store) == {("bo", "x", "first"), ("cy", "x", "second")}
    assert moved(base) == {"read": 2, "unchanged": 2}


def test_an_equal_copy_goes_where_its_first_goes(base: Path, store: SqlStore) -> None:
    put(base, {"s": [item("x")]}, {"bo": ["s"]})
    moved(base)
    put(base, {"s": [item("x"), item("x")]}, {"ana": ["s"], "bo": ["s"]})
    assert moved(base) == {"read": 2, "unchanged": 2}
    assert owners(store) == {("bo", "x", "i")}


def test_a_run_that_was_stopped_decides_the_same_when_it_goes_on(
    base: Path, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbsite.operations.migration.run._PART_BYTES", 1)
    monkeypatch.setattr("orbsite.operations.migration.run._PARTS", 0)
    put(base, {"s": [item("x", input="before")]}, {"bo": ["s"]})
    moved(base)
    sessions = {"s": [item("x", input="first")], "t": [item("x", input="second")]}
    put(base, sessions, {"ana": ["s"], "cy": ["t"], "bo": ["s", "t"]})
    load = SqlStore.load

    def stopping(self: SqlStore, *arguments: Any) -> None:
        monkeypatch.setattr(SqlStore, "insert", stopped)
        load(self, *arguments)

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    insert = SqlStore.insert
    monkeypatch.setattr(SqlStore, "load", stopping)
    with pytest.raises(KeyboardInterrupt):
        migrate([DOMAIN], base, now=utc_now)
    assert owners(store) == {("bo", "x", "first")}
    monkeypatch.setattr(SqlStore, "load", load)
    monkeypatch.setattr(SqlStore, "insert", insert)
    report = migrate([DOMAIN], base, now=utc_now, resume=True)
    assert report.ok
    assert owners(store) == {("bo", "x", "first"), ("cy", "x", "second")}


def test_many_open_items_cost_one_look_for_all(base: Path, store: SqlStore, django_assert_max_num_queries: Any) -> None:
    names = [f"r-{number}" for number in range(3000)]
    put(base, {"s": [item(name) for name in names]}, {"bo": ["s"]})
    moved(base)
    put(base, {"s": [item(name) for name in names]}, {"ana": ["s"], "bo": ["s"]})
    with django_assert_max_num_queries(60):
        report = migrate([DOMAIN], base, now=utc_now)
    assert report.domains["te"].counts["reflections"]["unchanged"] == 3000
    assert {msgspec.structs.replace(one, id="").user_id for one in store.walk(Reflection)} == {"bo"}
