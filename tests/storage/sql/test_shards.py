"""What the SQL store does otherwise where a table is in shards, tried on one PostgreSQL server, which takes it too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, InternalError, connections

from orbsite.models.ledger import Change
from orbsite.operations.ledger.tombstones import undo
from orbsite.operations.retention.apply import retain
from orbsite.search import indexer
from orbsite.search.indexer import SearchIndex
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql import store as sql_store
from orbsite.storage.sql.bulk_postgresql import PostgresqlBulk
from orbsite.storage.sql.filters import among
from orbsite.storage.sql.retention import choice
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import ReflectionFactory
from tests.support.routing import watching

pytestmark = pytest.mark.django_db(databases="__all__")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _some(number: int) -> list[Reflection]:
    return [
        ReflectionFactory(
            id=f"r{at}", user_id=f"user-{at % 3}", session_id="s", created_at=NOW - timedelta(days=at), input="a word"
        )
        for at in range(number)
    ]


@pytest.fixture
def in_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sql_store, choice):
        monkeypatch.setattr(module, "is_distributed", lambda connection, table: True)


def test_conditions_are_apart_by_user() -> None:
    keys = [("bo", "x"), ("ana", "b"), ("ana", "a")]
    names = ("user_id", "id")
    assert [str(one) for one in among(names, keys, apart=True)] == [
        "(AND: ('id__in', ['a', 'b']), ('user_id', 'ana'))",
        "(AND: ('id__in', ['x']), ('user_id', 'bo'))",
    ]
    assert len(list(among(names, keys))) == 1
    assert len(list(among(("id",), [("a",), ("b",)], apart=True))) == 1


def test_rows_are_locked_user_by_user(on_postgresql: None, in_shards: None) -> None:
    store, records = SqlStore(DOMAIN), _some(6)
    store.put(records)
    with watching("default") as watched:
        store.put(records)
    conditions = [one.statement for one in watched.reached if "FOR UPDATE" in one.statement]
    assert len(conditions) == 3
    assert all('"user_id" = %s' in one for one in conditions)
    assert store.count(Reflection) == 6


def test_retention_removes_by_key_and_can_be_undone(on_postgresql: None, in_shards: None) -> None:
    store, records = SqlStore(DOMAIN), _some(9)
    store.put(records)
    report = retain([store], Policy(max_age_days=4), now=lambda: NOW, force=True)
    assert report.domains["te"].total("removed") == 4
    assert {one.id for one in store.walk(Reflection)} == {"r0", "r1", "r2", "r3", "r4"}
    assert Change.objects.exclude(reason="").count() == 4
    undo(str(report.run), [store], now=lambda: NOW)
    assert {one.key: one for one in store.walk(Reflection)} == {one.key: one for one in records}


def test_a_key_that_another_node_says_is_taken(on_postgresql: None) -> None:
    bulk: Any = PostgresqlBulk(ReflectionRow, connections["default"])
    said = 'duplicate key value violates unique constraint "{}_102124"'
    assert bulk.is_taken(InternalError(said.format("te_reflections_key")))
    assert bulk.is_taken(InternalError(said.format("te_reflections_pkey")))
    assert not bulk.is_taken(InternalError("could not receive data from a node"))
    assert not bulk.is_taken(IntegrityError(said.format("te_reflections_key")))


def test_words_are_indexed_of_rows_that_are_locked_user_by_user(
    on_postgresql: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "is_distributed", lambda connection, table: True)
    SqlStore(DOMAIN).put(_some(6))
    assert SearchIndex(DOMAIN, Reflection).go_on(lambda: NOW).indexed == 6
