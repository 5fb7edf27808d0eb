"""Pages of rows, read as one list of JSON, are what each row is when it is read alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.db import connections

from orbsite.storage.records.record import Extra, columns
from orbsite.storage.sql import compiled_query, keyset_pagination
from orbsite.storage.sql.models import read_row
from orbsite.storage.sql.row_decoder import reader_of
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db(databases="__all__")
NAMES = columns(Reflection)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> SqlStore:
    return SqlStore(DOMAIN, "default" if request.param == "sqlite" else request.getfixturevalue("postgresql_alias"))


def _one_by_one(store: SqlStore) -> list[Any]:
    rows = ReflectionRow.objects.using(store.using).order_by("-created_at", "-id").values_list(*NAMES)
    found = [read_row(Reflection, dict(zip(NAMES, row, strict=True))).record for row in rows]
    return [record for record in found if record is not None]


def _reads_fast(store: SqlStore) -> bool:
    page = compiled_query.PageQuery(ReflectionRow, store.using, ("user_id", "id"), True, 100)
    reader: Any = reader_of(ReflectionRow, connections[store.using].vendor)
    return reader.read(compiled_query.fetch(page, {}, None)) is not None


def _records() -> list[Reflection]:
    moments = [timedelta(), timedelta(microseconds=1), timedelta(milliseconds=5), timedelta(days=-40_000)]
    made = ReflectionFactory.build_batch(8)
    return [
        msgspec.structs.replace(
            one,
            user_id="ana",
            created_at=one.created_at + moments[number % 4],
            notes=[None, "", "zwölf\n"][number % 3],
            tags=[(), ("a", 'b"]'), ("",)][number % 3],
            input=["\\n", "💥", "a\tb"][number % 3],
        )
        for number, one in enumerate(made)
    ]


def test_a_page_is_what_its_rows_are_one_by_one(store: SqlStore) -> None:
    records = _records()
    store.put(records)
    assert _reads_fast(store)
    found = store.find(Reflection, {"user_id": "ana"})
    assert found == _one_by_one(store)
    assert sorted(map(repr, found)) == sorted(map(repr, records))


@pytest.mark.parametrize(
    ("column", "value"), [("extra", '{"mood": 1e16}'), ("tags", "[5]"), ("tags", '[""]'), ("notes", "\\u0000")]
)
def test_a_row_that_needs_a_closer_look_gets_it_and_hides_no_other(store: SqlStore, column: str, value: str) -> None:
    store.put(_records())
    [odd] = store.find(Reflection, {"user_id": "ana"}, limit=1)
    with connections[store.using].cursor() as cursor:
        cursor.execute(f"UPDATE te_reflections SET {column} = %s WHERE id = %s", [value, odd.id])
    found = store.find(Reflection, {"user_id": "ana"})
    assert found == _one_by_one(store)
    assert len(found) == (7 if value == "[5]" else 8)
    if column == "extra":
        assert found[0].extra == Extra(mood=1e16)
        assert not _reads_fast(store)


def test_a_query_is_compiled_once_for_each_shape(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(_records())
    compiled_query._compiled.cache_clear()
    walked: list[Any] = []
    while page := store.find(Reflection, {"user_id": "ana"}, after=walked[-1].order if walked else None, limit=3):
        walked += page
    assert walked == store.find(Reflection, {"user_id": "ana"}) == _one_by_one(store)
    assert compiled_query._compiled.cache_info().misses == 3  # without and with a cursor, and without a limit
    monkeypatch.setattr(keyset_pagination, "reader_of", lambda *_: None)
    assert store.find(Reflection, {"user_id": "ana"}, after=walked[2].order, limit=3) == walked[3:6]
