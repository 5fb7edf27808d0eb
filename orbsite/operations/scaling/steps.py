"""The statements that spread tables over the nodes of a cluster with Citus, from the state that it has now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orbsite.models.placement import USER, Placement, Table
from orbsite.operations.scaling.cluster import Cluster, Key

_SUFFIX = "_with_user"


@dataclass(frozen=True, slots=True)
class Step:
    """One statement. A run that is stopped goes on with the first one that is still to be done."""

    table: str
    statement: str
    is_alone: bool = False
    """Whether it must not be in a transaction."""
    moves_rows: bool = False
    """Whether it moves the rows of the table, whose number has to stay the same."""


def steps_for(cluster: Cluster, tables: Sequence[Table], shards: int) -> list[Step]:
    """Return the statements that are still to be run, in order. `shards` counts only where no table is spread yet."""
    found = [step for table in tables for step in _reference(cluster, table)]
    spread = [
        table.name
        for table in tables
        if table.placement is Placement.DISTRIBUTED and _is_distributed(cluster, table.name)
    ]
    for table in tables:
        if table.placement is Placement.DISTRIBUTED:
            found += _distribution(cluster, table.name, spread[0] if spread else None, shards)
            spread = spread or [table.name]
    return found


def _reference(cluster: Cluster, table: Table) -> Iterator[Step]:
    now = cluster.placed.get(table.name)
    if table.placement is Placement.REFERENCE and (now is None or now.kind == "local"):
        yield Step(table.name, f"SELECT create_reference_table('{table.name}')", moves_rows=True)


def _distribution(cluster: Cluster, table: str, beside: str | None, shards: int) -> Iterator[Step]:
    if not _is_distributed(cluster, table):
        yield from _keys(cluster, table)
        how = f"colocate_with => '{beside}'" if beside else f"colocate_with => 'none', shard_count => {shards}"
        yield Step(table, f"SELECT create_distributed_table('{table}', '{USER}', {how})", moves_rows=True)
    if not _is_distributed(cluster, table) or table in cluster.left_behind:
        yield Step(table, f"SELECT truncate_local_data_after_distributing_table('{table}')")


def _keys(cluster: Cluster, table: str) -> Iterator[Step]:
    """Yield the statements that put the user into the primary key, behind the columns that it has."""
    keys = cluster.keys[table]
    primary = next((key for key in keys if key.is_primary), None)
    if primary is None or USER in primary.columns:
        return
    made = next((key for key in keys if key.name == f"{primary.name}{_SUFFIX}"), None)
    yield from _index(table, primary, made)
    yield Step(
        table,
        f'ALTER TABLE "{table}" DROP CONSTRAINT "{primary.name}", '
        f'ADD CONSTRAINT "{primary.name}" PRIMARY KEY USING INDEX "{primary.name}{_SUFFIX}"',
    )


def _index(table: str, primary: Key, made: Key | None) -> Iterator[Step]:
    name = f"{primary.name}{_SUFFIX}"
    if made is not None and not made.is_valid:  # a run was stopped while it was built
        yield Step(table, f'DROP INDEX CONCURRENTLY "{name}"', is_alone=True)
    if made is None or not made.is_valid:
        columns = ", ".join(f'"{column}"' for column in (*primary.columns, USER))
        yield Step(table, f'CREATE UNIQUE INDEX CONCURRENTLY "{name}" ON "{table}" ({columns})', is_alone=True)


def _is_distributed(cluster: Cluster, table: str) -> bool:
    return table in cluster.placed and cluster.placed[table].kind == "distributed"
