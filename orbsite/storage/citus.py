"""What the extension Citus tells of a PostgreSQL database: its nodes, and how its tables are placed on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_METHODS = {"h": "hash", "a": "append", "r": "range"}


@dataclass(frozen=True, slots=True)
class PlacedTable:
    """How Citus places the rows of one table."""

    kind: str
    """"distributed", "reference", "local", or, in a schema with shards of its own, "schema"."""
    column: str = ""
    """The column by which it is distributed."""
    method: str = ""
    """How the values of the column are distributed: "hash", or another method of earlier versions."""
    colocation: int = 0
    """The number of the group of tables whose shards lie together."""
    shards: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """A server of a cluster."""

    name: str
    port: int
    is_coordinator: bool = False
    has_shards: bool = True
    is_reachable: bool = True

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


def has_citus(connection: Any) -> bool:
    """Tell whether the database has the extension."""
    if connection.vendor != "postgresql":
        return False
    return bool(_rows(connection, "SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL")[0][0])


def is_distributed(connection: Any, table: str) -> bool:
    """Tell whether the rows of a table are in shards."""
    return has_citus(connection) and table in placed_tables(connection)


def placed_tables(connection: Any) -> dict[str, PlacedTable]:
    """Return the tables that Citus knows, by name; none where the database does not have the extension."""
    if not has_citus(connection):
        return {}
    statement = (
        "SELECT c.relname, p.partmethod, p.repmodel, p.colocationid, "
        "CASE WHEN p.partmethod <> 'n' THEN column_to_column_name(p.logicalrelid, p.partkey) END, "
        "(SELECT count(*) FROM pg_dist_shard s WHERE s.logicalrelid = p.logicalrelid) "
        "FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid WHERE pg_table_is_visible(c.oid)"
    )
    return {
        name: PlacedTable(_kind(method, model, colocation), column or "", _METHODS.get(method, ""), colocation, shards)
        for name, method, model, colocation, column, shards in _rows(connection, statement)
    }


def nodes(connection: Any) -> list[Node]:
    """Return the primary servers of the cluster, the coordinator too where it is registered."""
    statement = (
        "SELECT nodename, nodeport, groupid = 0, shouldhaveshards, "
        "isactive AND citus_check_connection_to_node(nodename, nodeport) "
        "FROM pg_dist_node WHERE noderole = 'primary' ORDER BY groupid"
    )
    return [Node(*row) for row in _rows(connection, statement)]


def is_coordinator(connection: Any) -> bool:
    """Tell whether the connection leads to the coordinator of the cluster."""
    return bool(_rows(connection, "SELECT groupid = 0 FROM pg_dist_local_group")[0][0])


def _kind(method: str, model: str, colocation: int) -> str:
    if method != "n":
        return "distributed"
    return "reference" if model == "t" else "schema" if colocation else "local"


def _rows(connection: Any, statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
