"""What forbids that tables are spread over several servers, found before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orbsite.models.placement import USER, Placement, Table
from orbsite.operations.scaling.cluster import Cluster, ForeignKey
from orbsite.storage.errors import OrbError
from orbsite.storage.findings import Finding, error
from orbsite.storage.sql.models import RecordRow

_MAJOR = 10_000
_NODES = "nodes"


def refuse_unless_ready(cluster: Cluster) -> None:
    """Raise OrbError where the server lacks what Citus needs, or the database is not in its last version."""
    if cluster.vendor != "postgresql":
        raise OrbError("the database is not PostgreSQL, which Citus extends; set DATABASE_URL to a PostgreSQL server")
    if not cluster.is_available:
        raise OrbError(
            f"the server does not have the extension citus; install Citus for PostgreSQL {cluster.server // _MAJOR} on "
            "every node, set shared_preload_libraries = 'citus' there, restart, and run: CREATE EXTENSION citus"
        )
    if not cluster.is_preloaded:
        raise OrbError(
            "the server has not loaded Citus; set shared_preload_libraries = 'citus' (first in the list) in "
            "postgresql.conf on every node, and restart"
        )
    if not cluster.is_created:
        raise OrbError("the database does not have the extension; run on every node: CREATE EXTENSION citus")
    if not cluster.is_coordinator:
        raise OrbError("this server is a worker; set DATABASE_URL to the coordinator of the cluster")
    refuse_open_migrations(cluster)


def refuse_open_migrations(cluster: Cluster) -> None:
    """Raise OrbError where the database is not in its last version."""
    if cluster.open_migrations:
        listed = ", ".join(cluster.open_migrations)
        raise OrbError(f"the tables are not in their last version ({listed}); run migrate first")


def obstacles(cluster: Cluster, tables: Sequence[Table]) -> list[Finding]:
    """Return what forbids the change, each with what to do; nothing was changed so far."""
    return [*_of_nodes(cluster), *(one for table in tables for one in _of_table(cluster, table, tables))]


def _of_nodes(cluster: Cluster) -> Iterator[Finding]:
    if not any(node.has_shards for node in cluster.nodes):
        yield error(
            _NODES, "no node takes shards; register the workers on the coordinator: SELECT citus_add_node('HOST', 5432)"
        )
    for node in cluster.nodes:
        if not node.is_reachable:
            yield error(
                _NODES, f"{node} cannot be reached from the coordinator; start it, or take it out: "
                f"SELECT citus_disable_node('{node.name}', {node.port})"
            )  # fmt: skip


def _of_table(cluster: Cluster, table: Table, tables: Sequence[Table]) -> Iterator[Finding]:
    if table.name not in cluster.keys:
        yield error(table.name, "the database has no such table with a key; run migrate, then check the database")
    elif table.placement is not Placement.LOCAL:
        yield from _of_placement(cluster, table, tables)
        yield from _of_foreign_keys(cluster, table, tables)
        if table.placement is Placement.DISTRIBUTED:
            yield from _of_shards(cluster, table)
    elif issubclass(table.model, RecordRow):
        yield error(
            table.name, "its records cannot be distributed: none of its keys contains the user; add the user to the "
            "key_fields of the record, or leave its domain out with --only"
        )  # fmt: skip


def _of_shards(cluster: Cluster, table: Table) -> Iterator[Finding]:
    """Yield what the shards of a table cannot keep."""
    for key in cluster.keys[table.name]:
        if not key.is_primary and key.is_valid and USER not in key.columns:
            yield error(
                table.name, f"the unique index {key.name} ({', '.join(key.columns)}) lacks {USER}, and shards cannot "
                "keep it; drop it, or make it again with the user"
            )  # fmt: skip
    for name in cluster.triggers.get(table.name, ()):
        yield error(table.name, f"the trigger {name} does not run on shards; drop it")


def _of_foreign_keys(cluster: Cluster, table: Table, tables: Iterable[Table]) -> Iterator[Finding]:
    placed = {one.name: one.placement for one in tables}
    for foreign_key in cluster.foreign_keys:
        if table.name in (foreign_key.table, foreign_key.target) and not _can_hold(foreign_key, placed):
            yield error(
                table.name, f"the foreign key {foreign_key.name} from {foreign_key.table} to {foreign_key.target} "
                "would cross nodes; drop it, or distribute both tables by the user that it contains"
            )  # fmt: skip


def _of_placement(cluster: Cluster, table: Table, tables: Iterable[Table]) -> Iterator[Finding]:
    now = cluster.placed.get(table.name)
    if now is None or now.kind == "local":
        return
    is_so = now.kind == table.placement.value and (
        table.placement is not Placement.DISTRIBUTED or (now.column, now.method) == (USER, "hash")
    )
    if not is_so:
        by = f" by {now.column} ({now.method})" if now.column else ""
        yield error(
            table.name, f"it is already a table of the kind {now.kind}{by}, which this program did not make; look why, "
            f"then run: SELECT undistribute_table('{table.name}')"
        )  # fmt: skip
    first = group_of(cluster, tables)
    if is_so and table.placement is Placement.DISTRIBUTED and now.colocation != first:
        yield error(
            table.name, f"its shards do not lie with those of the others (group {now.colocation}, not {first}); "
            f"run: SELECT undistribute_table('{table.name}')"
        )  # fmt: skip


def group_of(cluster: Cluster, tables: Iterable[Table]) -> int | None:
    """Return the group of shards of the first table that is distributed already, None if none is."""
    names = [table.name for table in tables if table.placement is Placement.DISTRIBUTED]
    found = [cluster.placed[name] for name in names if name in cluster.placed]
    return next((one.colocation for one in found if (one.column, one.method) == (USER, "hash")), None)


def _can_hold(foreign_key: ForeignKey, placed: dict[str, Placement]) -> bool:
    """Tell whether shards can check a foreign key."""
    source = placed.get(foreign_key.table, Placement.LOCAL)
    target = placed.get(foreign_key.target, Placement.LOCAL)
    if target is Placement.REFERENCE:
        return True
    if Placement.DISTRIBUTED not in (source, target):
        return source is not Placement.REFERENCE
    return source is target and USER in foreign_key.columns and USER in foreign_key.target_columns
