"""Many records at a time: how they stand, how they get in, what they sum up to; on every store with a ledger alike."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from django.db import connections

from luna.domain import DOMAIN as LUNA
from luna.records import Profile
from orbsite.storage.base.store import LedgerStore
from orbsite.storage.errors import Conflict
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.record import Extra
from orbsite.storage.sql import store as sql_store
from orbsite.storage.sql.bulk import PageSize
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db(databases="__all__")

Make = Callable[[Any], LedgerStore]


@pytest.fixture(params=["memory", "default", "postgresql"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "memory":
        return MemoryStore
    if request.param == "postgresql":
        request.getfixturevalue("postgresql_alias")
    return lambda domain: SqlStore(domain, request.param)


def some() -> list[Reflection]:
    moments = [datetime(2024, 1, 2, 3, 4, 5, micros, tzinfo=UTC) for micros in (0, 120000, 123456, 10)]
    return [
        ReflectionFactory(created_at=moments[0], tags=(), notes=None),
        ReflectionFactory(user_id="bo", created_at=moments[1], tags=('"', "é\n", "予約"), notes=""),
        ReflectionFactory(created_at=moments[2], input="", output="\\ \t \u2028"),
        ReflectionFactory(created_at=moments[3], extra=Extra({"score": 1.5, "tags2": [None]})),
    ]


def loaded(store: LedgerStore, records: list[Any], run: int = 7) -> None:
    with store.transaction():
        store.insert(store.make_batch(type(records[0]), records, [None] * len(records)), range(len(records)), run)


def test_what_was_inserted_is_there_and_is_the_same(make: Make) -> None:
    store, records = make(TE), some()
    loaded(store, records)
    assert store.fetch(Reflection, [one.key for one in records]) == {one.key: one for one in records}
    comparison = store.compare(store.make_batch(Reflection, records, [1, 2, 3, 4]))
    assert (list(comparison.free), list(comparison.other)) == ([], [])
    rows = store.rows(Reflection, [one.key for one in records])
    assert all(row.run == 7 and row.as_left for row in rows.values())


@pytest.mark.parametrize("field", ["user_id", "session_id", "input", "output", "tags", "notes", "created_at", "extra"])
def test_every_field_that_differs_is_seen(make: Make, field: str) -> None:
    store, records = make(TE), some()
    loaded(store, records)
    other = {"tags": ("x",), "created_at": datetime(1999, 1, 1, tzinfo=UTC), "extra": Extra(x=1)}.get(field, "other")
    changed = [msgspec.structs.replace(records[0], **{field: other}), records[1], ReflectionFactory(), *records[2:]]
    comparison = store.compare(store.make_batch(Reflection, changed, [None] * 5))
    found = ([0, 2], []) if field == "user_id" else ([2], [0])  # another user's of the same id is another record
    assert (sorted(comparison.free), sorted(comparison.other)) == found


def test_what_is_null_differs_from_what_is_empty(make: Make) -> None:
    store, records = make(TE), some()
    loaded(store, records)
    swapped = [msgspec.structs.replace(records[0], notes=""), msgspec.structs.replace(records[1], notes=None)]
    assert sorted(store.compare(store.make_batch(Reflection, swapped, [None] * 2)).other) == [0, 1]


def test_an_insert_where_a_key_is_taken_is_a_conflict_and_writes_nothing(make: Make) -> None:
    store, records = make(TE), some()
    loaded(store, records[2:3])
    with pytest.raises(Conflict):
        loaded(store, records)
    assert store.count(Reflection) == 1


def test_only_the_places_that_are_named_are_inserted(make: Make) -> None:
    store, records = make(TE), some()
    with store.transaction():
        store.insert(store.make_batch(Reflection, records, [4, 5, 6, 7]), [1, 3], 2)
    rows = store.rows(Reflection, [one.key for one in records])
    assert {key: row.position for key, row in rows.items()} == {records[1].key: 5, records[3].key: 7}


def test_keys_of_two_fields(make: Make) -> None:
    store = make(LUNA)
    first, second = ProfileFactory(user_id="a", mode_id="b"), ProfileFactory(user_id="b", mode_id="a")
    loaded(store, [first])
    comparison = store.compare(store.make_batch(Profile, [second, first], [None] * 2))
    assert (list(comparison.free), list(comparison.other)) == ([0], [])
    assert store.sums(Profile, 7).records == store.count_written(Profile, 7) == 1


def test_more_rows_than_a_statement_has_room_for(make: Make) -> None:
    store = make(TE)
    records = [ReflectionFactory(id=f"{number:05}", input="", output="") for number in range(6000)]
    loaded(store, records)
    assert store.count(Reflection) == 6000
    comparison = store.compare(store.make_batch(Reflection, [*records, ReflectionFactory()], [None] * 6001))
    assert (list(comparison.free), list(comparison.other)) == ([6000], [])


def test_sums_are_the_same_on_every_store_and_see_every_change(make: Make) -> None:
    records, store, memory = some(), make(TE), MemoryStore(TE)
    loaded(store, records)
    loaded(memory, records)
    ours, theirs = store.sums(Reflection), memory.sums(Reflection)
    assert (ours.of_users, ours.digest, ours.records) == (theirs.of_users, theirs.digest, 4)
    assert list(ours.differing(theirs)) == []
    store.put([msgspec.structs.replace(records[1], output="changed")])
    assert list(store.sums(Reflection).differing(theirs)) == [records[1].user_id]
    assert list(store.sums(Reflection, 7).differing(memory.sums(Reflection, 7))) == [records[1].user_id]
    for one, wrote in ((store, 3), (memory, 4)):
        assert one.count_written(Reflection, 7) == one.sums(Reflection, 7).records == wrote


@pytest.mark.parametrize("most", [0, 3, 5000])
def test_sums_of_some_users_are_those_of_all_for_these_users(
    make: Make, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_store, "_MOST_USERS", most)
    monkeypatch.setattr(sql_store, "_USERS_AT_A_TIME", 2)
    store = make(TE)
    users = [f"user-{number}" for number in range(7)]
    loaded(store, [ReflectionFactory(user_id=user) for user in users])
    everything = store.sums(Reflection, 7).of_users
    wanted = [*users[1:4], "nobody", "nul\0"]
    some_users = {user: sums for user, sums in store.sums(Reflection, 7, wanted).of_users.items() if user in wanted}
    assert some_users == {user: everything[user] for user in users[1:4]}
    assert store.sums(Reflection, 8, wanted).of_users == {}
    if 0 < len(wanted) <= most:
        assert set(store.sums(Reflection, 7, wanted).of_users) == set(users[1:4])


@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_a_row_that_django_has_written_sums_up_the_same(alias: str, request: pytest.FixtureRequest) -> None:
    if alias == "postgresql":
        request.getfixturevalue("postgresql_alias")
    store, memory, records = SqlStore(TE, alias), MemoryStore(TE), some()
    for one in records:
        fields = {name: getattr(one, name) for name in ("id", "user_id", "session_id", "input", "output", "notes")}
        ReflectionRow(**fields, tags=list(one.tags), created_at=one.created_at, extra=one.extra).save(using=alias)
    memory.put(records)
    assert store.sums(Reflection).of_users == memory.sums(Reflection).of_users


@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_a_row_that_was_edited_by_hand_counts_as_what_it_says_now(alias: str, request: pytest.FixtureRequest) -> None:
    if alias == "postgresql":
        request.getfixturevalue("postgresql_alias")
    store, records = SqlStore(TE, alias), some()
    loaded(store, records)
    before = store.sums(Reflection, 7)
    assert sorted(before.of_users) == ["ana", "bo"]
    with connections[alias].cursor() as cursor:
        cursor.execute("UPDATE te_reflections SET created_at = '2024-01-02 03:04:06' WHERE id = %s", [records[0].id])
        cursor.execute("UPDATE te_reflections SET extra = '[]' WHERE id = %s", [records[1].id])
    assert sorted(before.differing(store.sums(Reflection, 7))) == ["ana", "bo"]
    assert store.sums(Reflection, 7).records == 4


def test_a_text_that_is_not_utf8_behind_the_first_page_of_sums_hides_and_repeats_no_row() -> None:
    store, memory = SqlStore(TE), MemoryStore(TE)
    records = [ReflectionFactory(id=f"{number:05}", user_id="ana", input="", output="") for number in range(2100)]
    for one in (store, memory):
        loaded(one, records)
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE te_reflections SET notes = CAST(x'7aff' AS TEXT) WHERE id = '02050'")
    memory.delete(Reflection, [records[2050].key])
    rest = memory.sums(Reflection)
    rest.add("ana", None)
    assert store.sums(Reflection).of_users == rest.of_users
    assert store.refused() == 1


def test_pages_of_large_rows_have_few_rows_and_those_of_small_ones_many() -> None:
    size = PageSize(2000)
    for _ in range(3):
        size.adapt([("ana", "x" * 10, None, 5)] * size.rows)
    assert size.rows == 2000
    size.adapt([("ana", "x" * (1 << 20), None, 5)] * size.rows)
    assert size.rows == 3
    size.adapt([("ana", b"x" * (1 << 25), None, 5)] * size.rows)
    assert size.rows == 1
    size.adapt([("", None)])
    assert size.rows == 4
