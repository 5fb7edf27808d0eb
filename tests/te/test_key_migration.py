"""The upgrade to keys of user and id, on databases that an earlier version has filled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connections
from django.db.migrations.executor import MigrationExecutor

from orbsite.models import Change, Run
from orbsite.operations.book import key_text
from orbsite.search.index import Index
from orbsite.storage.digests import digest
from orbsite.storage.sql import SqlStore
from orbsite.words import Words
from te.domain import DOMAIN
from te.records import Reflection
from tests.factories import BEGIN, ReflectionFactory
from tests.scratch import scratch

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)
COLUMNS = "id, user_id, session_id, input, output, tags, notes, created_at, digest, position, extra"


@pytest.fixture(params=["sqlite", "postgresql"])
def alias(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    if request.param == "sqlite":
        with django_db_blocker.unblock(), scratch(tmp_path / "db.sqlite3") as name:
            yield name
        return
    name = request.getfixturevalue("postgresql_alias")
    yield name
    migrated(name)


def migrated(alias: str, to: list[tuple[str, str]] | None = None) -> None:
    executor = MigrationExecutor(connections[alias])
    executor.migrate(to or executor.loader.graph.leaf_nodes())


def to_the_earlier_version(alias: str) -> None:
    graph = MigrationExecutor(connections[alias]).loader.graph
    changes = [("te", "0003_key_of_user_and_id"), ("orbsite", "0018_words_by_user")]
    parents = [parent.key for change in changes for parent in graph.node_map[change].parents]
    migrated(alias, [parent for parent in parents if parent[0] in ("te", "orbsite")])


def run(alias: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, list(values))
        return cursor.fetchall() if cursor.description else []


def records() -> list[Reflection]:
    names = ["a", "é", "😀" * 100, "../..", '"quoted"\\', "42", *(f"r-{number}" for number in range(40))]
    odd = {"notes": "größer\n", "tags": ("x", "ü"), "input": "two\r\n words"}
    return [
        ReflectionFactory(id=name, user_id=f"user {at % 7}", session_id=f"s-{at % 3}", **(odd if at % 5 == 0 else {}))
        for at, name in enumerate(names)
    ]


def fill(alias: str, made: list[Reflection]) -> None:
    """Write rows as an earlier version has them, with words of two of them, and a pass that stands half way."""
    for at, one in enumerate(made):
        run(
            alias,
            f"INSERT INTO te_reflections ({COLUMNS}) VALUES ({', '.join(['%s'] * 11)})",
            *(one.id, one.user_id, one.session_id, one.input, one.output, json.dumps(one.tags), one.notes),
            *(one.created_at.replace(tzinfo=None) if "sqlite" in connections[alias].vendor else one.created_at,),
            *(digest(one), at, None),
        )
    for one in made[:2]:
        run(
            alias,
            "INSERT INTO orb_words (kind, key, user_id, digest, words) VALUES ('reflections', %s, %s, %s, ' input ')",
            *(one.id, one.user_id, digest(one)),
        )
    run(alias, "INSERT INTO orb_words_passes (kind, after) VALUES ('reflections', 'r-1')")


def change(alias: str, key: list[str], before: dict[str, Any]) -> int:
    made = Run.objects.using(alias).first() or Run.objects.using(alias).create(operation="edit", started_at=BEGIN)
    number = len(run(alias, "SELECT id FROM orb_changes")) + 1
    run(
        alias,
        "INSERT INTO orb_changes (id, run_id, domain, kind, key, before, after, actor, reason) "
        "VALUES (%s, %s, 'te', 'reflections', %s, %s, '', '', '')",
        *(number, made.pk + number, key_text(tuple(key)), json.dumps(before, separators=(",", ":"))),
    )
    return number


def test_every_row_is_there_after_the_upgrade_and_two_users_may_have_one_id(alias: str) -> None:
    made, store = records(), SqlStore(DOMAIN, alias)
    to_the_earlier_version(alias)
    fill(alias, made)
    before = run(alias, f"SELECT {COLUMNS} FROM te_reflections ORDER BY id")
    migrated(alias)
    assert run(alias, f"SELECT {COLUMNS} FROM te_reflections ORDER BY id") == before
    assert {one.key: one for one in store.walk(Reflection)} == {one.key: one for one in made}
    store.put([ReflectionFactory(id="a", user_id="another")])
    assert [one.user_id for one in store.find(Reflection, {"id": "a"})] == ["another", "user 0"]
    with pytest.raises(IntegrityError):
        run(alias, f"INSERT INTO te_reflections ({COLUMNS}) SELECT {COLUMNS} FROM te_reflections")


def test_the_rules_and_the_indexes_are_those_of_a_new_database(alias: str) -> None:
    def seen() -> Any:
        with connections[alias].cursor() as cursor:
            found = connections[alias].introspection.get_constraints(cursor, "te_reflections")
        return {name.replace("new__", ""): {**one, "definition": None} for name, one in found.items()}

    new = seen()
    to_the_earlier_version(alias)
    assert seen() != new
    migrated(alias)
    assert seen() == new
    assert {"te_reflections_key", "te_reflections_id", "te_reflections_user_id_length"} <= new.keys()
    names = ("id", "user_id", "session_id", "input", "output", "digest", "tags", "created_at")
    for column in ("id", "user_id", "session_id"):
        values = [*("" if name == column else "x" for name in names[:6]), "[]", "2024-01-01 00:00:00+00:00"]
        with pytest.raises(IntegrityError, match=f"te_reflections_{column}_length"):
            run(alias, f"INSERT INTO te_reflections ({', '.join(names)}) VALUES ({', '.join(['%s'] * 8)})", *values)


def test_the_words_of_an_earlier_version_are_still_found_and_the_pass_begins_anew(alias: str) -> None:
    made = records()
    to_the_earlier_version(alias)
    fill(alias, made)
    migrated(alias)
    index = Index(DOMAIN, Reflection, alias)
    assert index.standing().after == ""
    done = index.go_on(lambda: BEGIN)
    assert (done.read, done.indexed, done.is_over) == (len(made), len(made) - 2, True)
    Words.objects.using(alias).filter(user_id="user 0").delete()
    if connections[alias].vendor == "sqlite":
        run(alias, "INSERT INTO orb_words_index(orb_words_index, rank) VALUES ('integrity-check', 1)")


def test_the_ledger_names_users_where_anything_tells_them(alias: str) -> None:
    made = records()[:3]
    to_the_earlier_version(alias)
    fill(alias, made)
    put = {"put": "reflections", "record": ReflectionFactory(id="gone", user_id="bo").as_json()}
    told = {
        change(alias, ["gone"], put): ["bo", "gone"],
        change(alias, ["gone"], {"delete": "reflections", "key": ["gone"]}): ["bo", "gone"],
        change(alias, [made[1].id], {"delete": "reflections", "key": [made[1].id]}): list(made[1].key),
        change(alias, ["odd"], {"columns": {"id": "odd", "user_id": "cy", "tags": "["}}): ["cy", "odd"],
        change(alias, ["lost"], {"delete": "reflections", "key": ["lost"]}): ["lost"],
    }
    before = dict(Change.objects.using(alias).values_list("pk", "before"))
    migrated(alias)
    found = {one.pk: one for one in Change.objects.using(alias)}
    assert {number: json.loads(one.key) for number, one in found.items()} == told
    for number, key in told.items():
        if "delete" in before[number]:
            assert json.loads(found[number].before) == {"delete": "reflections", "key": key}
            assert found[number].key == key_text(tuple(key))
        else:
            assert found[number].before == before[number]
    to_the_earlier_version(alias)
    assert {one[0] for one in run(alias, "SELECT key FROM orb_changes")} == {
        key_text((key[-1],)) for key in told.values()
    }
