"""The state of a database that is to be spread over several servers, as its catalog tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from orbsite.storage import citus
from orbsite.storage.citus import Node, PlacedTable


@dataclass(frozen=True, slots=True)
class Key:
    """A unique index of a table, with the constraint that it belongs to, if it belongs to one."""

    name: str
    columns: tuple[str, ...]
    is_primary: bool = False
    is_valid: bool = True


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key that the database checks."""

    name: str
    table: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What decides how tables can be spread, and how far that was done."""

    vendor: str = "postgresql"
    server: int = 150000
    """The version of the server, as a number."""
    is_available: bool = True
    """Whether the files of the extension are installed."""
    is_preloaded: bool = True
    """Whether `shared_preload_libraries` names it."""
    is_created: bool = True
    """Whether the database has it."""
    is_coordinator: bool = True
    open_migrations: Sequence[str] = ()
    nodes: Sequence[Node] = ()
    placed: Mapping[str, PlacedTable] = field(default_factory=dict)
    keys: Mapping[str, Sequence[Key]] = field(default_factory=dict)
    """The unique indexes of each table."""
    foreign_keys: Sequence[ForeignKey] = ()
    triggers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    left_behind: frozenset[str] = frozenset()
    """The distributed tables whose former rows are still in the coordinator's own table."""


def read_cluster(using: str) -> Cluster:
    """Return the state of a database."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return Cluster(vendor=connection.vendor)
    state: dict[str, Any] = {
        "server": int(_rows(connection, "SHOW server_version_num")[0][0]),
        "is_available": bool(_rows(connection, "SELECT 1 FROM pg_available_extensions WHERE name = 'citus'")),
        "is_preloaded": "citus" in _rows(connection, "SHOW shared_preload_libraries")[0][0],
        "is_created": citus.has_citus(connection),
        "open_migrations": _open_migrations(connection),
        "keys": _keys(connection),
        "foreign_keys": _foreign_keys(connection),
        "triggers": _triggers(connection),
    }
    if state["is_created"]:
        state["placed"] = citus.placed_tables(connection)
        state["nodes"] = citus.nodes(connection)
        state["is_coordinator"] = citus.is_coordinator(connection)
        state["left_behind"] = frozenset(
            name for name, one in state["placed"].items() if one.kind == "distributed" and _has_pages(connection, name)
        )
    return Cluster(**state)


def _open_migrations(connection: Any) -> list[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def _keys(connection: Any) -> dict[str, list[Key]]:
    statement = (
        "SELECT t.relname, i.relname, x.indisprimary, x.indisvalid, "
        "ARRAY(SELECT a.attname::text FROM unnest(x.indkey) WITH ORDINALITY AS k(n, at) "
        "JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.n ORDER BY k.at) "
        "FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid "
        "WHERE x.indisunique AND pg_table_is_visible(t.oid) ORDER BY i.relname"
    )
    found: dict[str, list[Key]] = {}
    for table, name, is_primary, is_valid, columns in _rows(connection, statement):
        found.setdefault(table, []).append(Key(name, tuple(columns), is_primary, is_valid))
    return found


def _foreign_keys(connection: Any) -> list[ForeignKey]:
    names = (
        "ARRAY(SELECT a.attname::text FROM unnest({}) WITH ORDINALITY AS k(n, at) "
        "JOIN pg_attribute a ON a.attrelid = {} AND a.attnum = k.n ORDER BY k.at)"
    )
    statement = (
        f"SELECT c.conname, t.relname, {names.format('c.conkey', 'c.conrelid')}, "
        f"f.relname, {names.format('c.confkey', 'c.confrelid')} "
        "FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class f ON f.oid = c.confrelid "
        "WHERE c.contype = 'f' AND pg_table_is_visible(t.oid) ORDER BY c.conname"
    )
    return [
        ForeignKey(name, table, tuple(columns), target, tuple(others))
        for name, table, columns, target, others in _rows(connection, statement)
    ]


def _triggers(connection: Any) -> dict[str, list[str]]:
    statement = (
        "SELECT t.relname, g.tgname FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid "
        "WHERE NOT g.tgisinternal AND pg_table_is_visible(t.oid) AND g.tgname NOT LIKE 'truncate_trigger_%' ORDER BY 2"
    )
    found: dict[str, list[str]] = {}
    for table, name in _rows(connection, statement):
        found.setdefault(table, []).append(name)
    return found


def _has_pages(connection: Any, table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size(to_regclass(%s)) > 0", [connection.ops.quote_name(table)])
        return bool(cursor.fetchone()[0])


def _rows(connection: Any, statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
