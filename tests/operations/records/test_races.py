"""Writers side by side on real databases: no update is lost, nothing is overwritten unseen, nobody deadlocks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.db import connections

from luna.domain import DOMAIN as LUNA
from luna.records import Profile
from orbsite.operations.migration.loader import Loader
from orbsite.operations.report import Section
from orbsite.storage.errors import Conflict
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Entry
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.factories import ProfileFactory, ReflectionFactory
from tests.support.time_limits import time_limit

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture
def alias(transactional_db: None) -> str:
    if "postgresql" not in connections:
        pytest.skip("no PostgreSQL here: races between real transactions were NOT tested")
    return "postgresql"


def _side_by_side(alias: str, calls: list[Callable[[], Any]]) -> list[Any]:
    problems: list[Any] = []

    def run(call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as problem:  # noqa: BLE001 -- the test looks at all of them
            problems.append(problem)
        finally:
            connections[alias].close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(time_limit(60))
    return problems


def test_the_same_keys_in_any_order_are_no_deadlock(alias: str) -> None:
    records = [ReflectionFactory() for _ in range(100)]
    orders = [records if number % 2 else records[::-1] for number in range(8)]
    assert _side_by_side(alias, [lambda order=order: SqlStore(TE, alias).put(order) for order in orders]) == []
    assert SqlStore(TE, alias).count(Reflection) == 100


def test_compare_and_set_loses_no_update(alias: str) -> None:
    start = ProfileFactory(preferences=())
    SqlStore(LUNA, alias).put([start])

    def append(name: str) -> None:
        store = SqlStore(LUNA, alias)
        while True:
            old = store.fetch(Profile, [start.key])[start.key]
            new = msgspec.structs.replace(old, preferences=(*old.preferences, name))
            try:
                return store.put([new], expect=digest(old))
            except Conflict:
                continue

    names = [str(number) for number in range(24)]
    assert _side_by_side(alias, [lambda name=name: append(name) for name in names]) == []
    assert sorted(SqlStore(LUNA, alias).fetch(Profile, [start.key])[start.key].preferences) == sorted(names)


def test_get_or_create_creates_once(alias: str) -> None:
    made: list[bool] = []
    record = ReflectionFactory()
    calls = [lambda: made.append(SqlStore(TE, alias).add(record)[1])] * 12
    assert _side_by_side(alias, calls) == []
    assert sorted(made) == [False] * 11 + [True]


def test_what_is_saved_during_a_migration_is_not_overwritten(alias: str) -> None:
    target, ours = SqlStore(TE, alias), ReflectionFactory(input="from the file")
    theirs = msgspec.structs.replace(ours, input="saved meanwhile")
    inserted = SqlStore.insert

    def insert(store: SqlStore, *arguments: Any) -> None:
        if not saved:
            saved.append(True)
            assert _side_by_side(alias, [lambda: SqlStore(TE, alias).put([theirs])]) == []
        inserted(store, *arguments)

    saved: list[bool] = []
    section = Section()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqlStore, "insert", insert)
        Loader(target, 1, section).all([Entry(place=(0,), record=ours, kind=Reflection)])
    assert (section.total("read"), section.total("new"), section.total("kept")) == (1, 0, 1)
    assert target.fetch(Reflection, [ours.key]) == {ours.key: theirs}
