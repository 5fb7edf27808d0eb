from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, connections, transaction

from luna.models import ProfileRow
from orbsite.storage.records.digest import digest
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db(databases="__all__")


@pytest.fixture(params=["sqlite", "postgresql"])
def alias(request: pytest.FixtureRequest) -> str:
    return "default" if request.param == "sqlite" else request.getfixturevalue("postgresql_alias")


def _saved(alias: str) -> ReflectionRow:
    record = ReflectionFactory()
    SqlStore(TE, alias).load([(record, 7)], run=3)
    return ReflectionRow.objects.using(alias).get(id=record.id, user_id=record.user_id)


@pytest.mark.parametrize(
    ("column", "value"),
    [("user_id", ""), ("user_id", "x" * 256), ("session_id", ""), ("tags", '{"a": 1}'), ("tags", "5")],
)
def test_raw_sql_obeys_the_rules_of_the_records(alias: str, column: str, value: str) -> None:
    _saved(alias)
    with pytest.raises(Exception) as caught, transaction.atomic(alias), connections[alias].cursor() as cursor:  # noqa: PT011
        cursor.execute(f"UPDATE te_reflections SET {column} = %s", [value])
    assert caught.type.__name__ in ("IntegrityError", "DataError")


def test_a_nul_is_refused_by_sqlite_as_it_is_by_postgresql() -> None:
    _saved("default")
    for column in ("id", "user_id", "session_id", "input", "output", "notes"):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE te_reflections SET {column} = 'a' || char(0)")


def test_a_run_is_remembered_until_anything_else_writes_the_row(alias: str) -> None:
    row = _saved(alias)
    assert (row.run_id, row.position) == (3, 7)
    row.notes = "edited"
    row.save()
    row.refresh_from_db()
    record = row.reading().record
    assert record is not None
    assert (row.run_id, row.position, row.digest, row.notes) == (None, 7, digest(record), "edited")


def test_a_put_forgets_the_run_and_keeps_the_position(alias: str) -> None:
    row = _saved(alias)
    SqlStore(TE, alias).put([ReflectionFactory(id=row.id)])
    row.refresh_from_db()
    assert (row.run_id, row.position) == (None, 7)
    SqlStore(TE, alias).put([ReflectionFactory(id=row.id, session_id="another")])
    row.refresh_from_db()
    assert (row.session_id, row.position) == ("another", None)


def test_a_row_edited_by_raw_sql_is_seen_as_edited(alias: str) -> None:
    row, store = _saved(alias), SqlStore(TE, alias)
    assert store.rows(Reflection, [row.record().key])[row.record().key].as_left
    ReflectionRow.objects.using(alias).update(input="edited")
    assert not store.rows(Reflection, [row.record().key])[row.record().key].as_left


def test_an_owner_never_changes(alias: str) -> None:
    row = _saved(alias)
    row.user_id = "somebody-else"
    with pytest.raises(IntegrityError), transaction.atomic(alias):
        row.save()
    row.refresh_from_db()
    assert row.user_id == "ana"


def test_an_update_does_not_set_the_owner_and_is_routed_by_it(django_assert_num_queries) -> None:
    row = _saved("default")
    with django_assert_num_queries(1) as queries:
        row.save()
    sql = queries.captured_queries[0]["sql"]
    assert '"user_id" =' not in sql.partition("WHERE")[0]
    assert '"user_id" =' in sql.partition("WHERE")[2]


def test_a_row_that_is_no_record_cannot_be_saved() -> None:
    row = ProfileRow(
        user_id="ana", mode_id="mars", preferences=[1], constraints=["x"], updated_at=ProfileFactory().updated_at
    )
    with pytest.raises(ValidationError, match=r"\$.preferences\[0\]"):
        row.save()


def test_reflections_have_one_key_and_indexes_for_the_hot_questions(postgresql_alias: str) -> None:
    with connections[postgresql_alias].cursor() as cursor:
        cursor.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'te_reflections'")
        found = dict(cursor.fetchall())
        cursor.execute(
            "SELECT column_name, collation_name FROM information_schema.columns "
            "WHERE table_name = 'te_reflections' AND column_name IN ('id', 'user_id', 'session_id')"
        )
        collations = dict(cursor.fetchall())
    assert sorted(found) == [
        "te_reflections_id",
        "te_reflections_key",
        "te_reflections_oldest",
        "te_reflections_pkey",
        "te_reflections_session",
        "te_reflections_user",
    ]
    assert {name for name, definition in found.items() if "UNIQUE" in definition} == {
        "te_reflections_key",
        "te_reflections_pkey",
    }
    assert found["te_reflections_key"].endswith("(user_id, id)")
    assert collations == {"id": "C", "user_id": "C", "session_id": "C"}


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ({"user_id": "ana"}, "te_reflections_user"),
        ({"session_id": "default"}, "te_reflections_session"),
        ({"id": "x", "user_id": "ana"}, "sqlite_autoindex_te_reflections_1"),
        ({}, "te_reflections_oldest"),
    ],
)
def test_hot_questions_are_answered_by_an_index_without_sorting(where: dict[str, str], index: str) -> None:
    rows = ReflectionRow.objects.filter(**where).order_by(*(f"-{name}" for name in Reflection.order_fields))[:100]
    plan = rows.explain()
    assert index in plan
    assert "TEMP B-TREE" not in plan
