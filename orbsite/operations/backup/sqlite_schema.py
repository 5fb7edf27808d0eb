"""Compares the schema of a SQLite backup with that of the migrations, because triggers and views are code.

An upgrade of Django may change the SQL of a migration. Tables and indexes are therefore compared by their contents,
triggers and views by their SQL.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import load_backend

Schema = dict[tuple[str, str], Any]
"""The objects of a schema, by type and name."""

_ENGINE = "orbsite.runtime.sqlite"
_WORDS = re.compile(r"\s+")


def unknown(schema: Schema, now: Schema) -> list[str]:
    """Return type and name of each object that matches neither the migrations nor the current database."""
    made = migrated()
    return [
        f"{kind} {name}" for (kind, name), what in sorted(schema.items()) if what not in _known(kind, name, made, now)
    ]


def described(connection: Any) -> Schema:
    """Return the schema of an open database."""
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return {
        (str(kind), str(name)): _described(connection, str(kind), str(name), str(table), sql)
        for kind, name, table, sql in found
        if not str(name).startswith("sqlite_")
    }


@cache
def migrated() -> Schema:
    """Return the schema that the migrations, and the apps without migrations, create in an empty database in memory."""
    with _scratch() as connection:
        executor = MigrationExecutor(connection)
        executor.migrate(executor.loader.graph.leaf_nodes())
        existing = set(connection.introspection.table_names())
        for label in sorted(executor.loader.unmigrated_apps):
            with connection.schema_editor() as editor:
                for model in apps.get_app_config(label).get_models():
                    if model._meta.managed and not model._meta.proxy and model._meta.db_table not in existing:
                        editor.create_model(model)
        connection.ensure_connection()
        return described(connection.connection)


@contextlib.contextmanager
def _scratch() -> Iterator[Any]:
    """Make an empty database in memory the default one of this thread, because migrations open it by its alias."""
    settings = {**connections.settings[DEFAULT_DB_ALIAS], "ENGINE": _ENGINE, "NAME": ":memory:", "OPTIONS": {}}
    usual = connections[DEFAULT_DB_ALIAS]
    scratch = load_backend(_ENGINE).DatabaseWrapper(settings, DEFAULT_DB_ALIAS)
    connections[DEFAULT_DB_ALIAS] = scratch
    try:
        yield scratch
    finally:
        connections[DEFAULT_DB_ALIAS] = usual
        if scratch.connection is not None:
            scratch.connection.close()


def _known(kind: str, name: str, *schemas: Schema) -> list[Any]:
    return [schema[kind, name] for schema in schemas if (kind, name) in schema]


def _described(connection: Any, kind: str, name: str, table: str, sql: str | None) -> Any:
    quoted = _quoted(name)
    if kind == "table" and not (sql or "").lstrip().upper().startswith("CREATE VIRTUAL"):
        columns = connection.execute(f"PRAGMA table_xinfo({quoted})").fetchall()
        return "table", sorted((one[1], one[2].lower(), one[3], one[5], one[6]) for one in columns)
    if kind == "index":
        columns = connection.execute(f"PRAGMA index_xinfo({quoted})").fetchall()
        listed = connection.execute(f"PRAGMA index_list({_quoted(table)})").fetchall()
        return "index", table, [one[2] for one in columns], [(one[2], one[4]) for one in listed if one[1] == name]
    return kind, table, _WORDS.sub(" ", sql or "").strip()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
