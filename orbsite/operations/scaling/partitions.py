"""Partitions the tables of records that retention applies to by time, and keeps partitions for the next periods.

A partitioned table cannot have a unique index without the time in it. A table of keys takes the place of that index:
triggers enter the key of each inserted row, and remove that of each deleted one. The key of a row whose partition was
dropped stays there, and is taken over by the next row with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db import DatabaseError, connections, transaction

from orbsite.operations.ledger.run_lock import alone
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import STATEMENTS, Report, Section
from orbsite.operations.scaling.cluster import Cluster, read_cluster
from orbsite.operations.scaling.obstacles import refuse_open_migrations
from orbsite.operations.scaling.partition_statements import (
    TimedTable,
    creation,
    rows_of,
    statements_for,
    timed_tables,
    with_rows,
)
from orbsite.storage.citus import is_distributed
from orbsite.storage.errors import OrbError
from orbsite.storage.findings import Finding, error
from orbsite.storage.partitions import (
    DEFAULT,
    KEYS,
    LOCK_TIMEOUT,
    Partition,
    Period,
    forget,
    is_partitioned,
    missing,
    overlap,
    partitions,
)
from orbsite.storage.records.domain import Domain
from orbsite.storage.sql.retry import TransactionRetry

COLUMNS = ("tables", "partitioned", "to partition", "wrong")
DATABASE = "database"
_LEAST_SERVER = 130_000


def split(
    domains: Sequence[Domain],
    *,
    period: Period,
    apply: bool,
    now: datetime,
    using: str = "default",
    progress: Progress = silent,
) -> Report:
    """Report the statements that partition the tables by time, and with `apply`, run them.

    Each table is one transaction. A table that is partitioned already gets the partitions that it lacks, also for rows
    that are in the partition for all other times. Raises OrbError, before anything is changed, where the database is
    not ready.
    """
    report = Report(columns=COLUMNS, bad=("wrong",))
    progress.tells_of(report)
    forget(connections[using])  # another process may have partitioned them
    cluster = read_cluster(using)
    _refuse_unless_ready(cluster)
    tables = timed_tables(domains, using)
    if not tables:
        raise OrbError("no table holds records that retention applies to; include such a domain with --only")
    section = report.section(DATABASE, [table.name for table in tables])
    section.findings += [one for table in tables for one in _obstacles(cluster, table, period)]
    if section.findings or not apply:
        _tell(section, tables, period, now)
        return report
    progress.expect(len(tables))
    with alone(using):
        for table in tables:
            if progress.is_stopping:
                section.findings.append(error(table.name, "the run was stopped before this table; run it again"))
                break
            _apply(table, period, now)
            progress(1)
    _tell(section, tables, period, now)
    return report


def add_partitions(now: datetime, domains: Iterable[Domain], using: str = "default") -> int:
    """Make the partitions for this period and the next ones, where tables are partitioned; return how many are new."""
    if connections[using].vendor != "postgresql":
        return 0
    number = 0
    for table in timed_tables(domains, using):
        known = partitions(connections[using], table.name)
        if known:
            number += _add(table, missing(known, known[-1].period, now, table.name))
    return number


def _refuse_unless_ready(cluster: Cluster) -> None:
    if cluster.vendor != "postgresql":
        raise OrbError("the database is not PostgreSQL; set DATABASE_URL to a PostgreSQL server")
    if cluster.server < _LEAST_SERVER:
        raise OrbError(
            f"the server is PostgreSQL {cluster.server // 10_000}; partitions with triggers need 13 or newer"
        )
    refuse_open_migrations(cluster)


def _obstacles(cluster: Cluster, table: TimedTable, period: Period) -> Iterator[Finding]:
    """Yield what forbids the change of a table, each with what to do."""
    if table.name not in cluster.keys:
        yield error(table.name, "the database has no such table with a key; run migrate, then check the database")
    elif is_distributed(connections[table.using], table.name):
        yield error(table.name, f"it is distributed by Citus; run: SELECT undistribute_table('{table.name}')")
    elif is_partitioned(connections[table.using], table.name):
        yield from _of_other_partitions(table, period)
    else:
        yield from _of_what_would_be_lost(cluster, table)


def _of_other_partitions(table: TimedTable, period: Period) -> Iterator[Finding]:
    known = partitions(connections[table.using], table.name)
    if not known or not rows_of(table, "SELECT to_regclass(%s) IS NOT NULL", [table.of(f"_{KEYS}")])[0][0]:
        yield error(table.name, "it is partitioned by something else, which this program did not make; look why")
    elif known[-1].period is not period:
        yield error(
            table.name, f"its partitions are of a {known[-1].period}; run this with --period {known[-1].period}"
        )


def _of_what_would_be_lost(cluster: Cluster, table: TimedTable) -> Iterator[Finding]:
    """Yield what belongs to the table and cannot belong to one with partitions, or would be dropped with it."""
    name, own = table.name, ({table.primary}, set(table.key))
    for key in cluster.keys[name]:
        if set(key.columns) not in own and table.time not in key.columns:
            yield error(name, f"its unique index {key.name} lacks {table.time}; drop it: DROP INDEX {key.name}")
    for foreign_key in cluster.foreign_keys:
        if name in (foreign_key.table, foreign_key.target):
            yield error(name, f"the foreign key {foreign_key.name} of {foreign_key.table} belongs to it; drop it")
    for trigger in cluster.triggers.get(name, ()):
        yield error(name, f"its trigger {trigger} would be lost; drop it, and make it again afterwards")
    for (publication,) in rows_of(table, "SELECT pubname FROM pg_publication_tables WHERE tablename = %s", [name]):
        yield error(name, f"the publication {publication} has it; take it out, and add it again afterwards")


def _apply(table: TimedTable, period: Period, now: datetime) -> None:
    try:
        if not is_partitioned(connections[table.using], table.name):
            _partition(table, period, now)
        else:
            known = partitions(connections[table.using], table.name)
            others = with_rows(table, period, f"{table.name}_{DEFAULT}")
            older = [one for one in others if not any(overlap(one, other) for other in known)]
            _add(table, [*older, *missing([*known, *older], period, now, table.name)])
    except DatabaseError as problem:
        message = " ".join(str(problem).split())
        raise OrbError(
            f"{table.name} was not partitioned ({message}); nothing of this step was kept. Mend that, then run the "
            "command again"
        ) from problem


def _partition(table: TimedTable, period: Period, now: datetime) -> None:
    """Replace a table by one with partitions and the same rows, in one transaction."""
    with transaction.atomic(table.using), connections[table.using].cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(f"LOCK TABLE {table.of('')} IN ACCESS EXCLUSIVE MODE")
        before = _number(cursor, table)
        for statement in statements_for(table, period, now):
            cursor.execute(statement)
        after = _number(cursor, table)
        if before != after:
            raise OrbError(f"{table.name} had {before} rows, and has {after} after the change; nothing was kept")
        cursor.execute(f"ANALYZE {table.of('')}")
    forget(connections[table.using])


def _number(cursor: Any, table: TimedTable) -> int:
    cursor.execute(f"SELECT count(*) FROM {table.of('')}")
    return int(cursor.fetchone()[0])


def _add(table: TimedTable, wanted: Sequence[Partition]) -> int:
    """Make partitions, each in one transaction; rows for it move from the partition for all other times."""
    attempts = TransactionRetry(table.using)
    for one in wanted:
        attempts.run(lambda one=one: _add_one(table, one))  # type: ignore[misc]  # called at once
    return len(wanted)


def _add_one(table: TimedTable, one: Partition) -> None:
    others, made, time = table.of(f"_{DEFAULT}"), f'"{table.schema}"."{one.name}"', f'"{table.time}"'
    keys, key = table.of(f"_{KEYS}"), ", ".join(f'"{name}"' for name in table.key)
    low, high = f"{time} >= '{one.start.isoformat()}'", f"{time} < '{one.end.isoformat()}'"
    with connections[table.using].cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        cursor.execute(f"LOCK TABLE {table.of('')} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {others} WHERE {low} AND {high})")
        if not cursor.fetchone()[0]:
            cursor.execute(creation(table, one))
            return
        cursor.execute(f"CREATE TABLE {made} (LIKE {table.of('')} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        cursor.execute(f"INSERT INTO {made} SELECT * FROM {others} WHERE {low} AND {high}")
        cursor.execute(f"DELETE FROM {others} WHERE {low} AND {high}")
        cursor.execute(f"INSERT INTO {keys} SELECT {key} FROM {made} ON CONFLICT DO NOTHING")
        cursor.execute(f"ALTER TABLE {table.of('')} ATTACH PARTITION {made} FOR VALUES {one.bounds}")


def _tell(section: Section, tables: Sequence[TimedTable], period: Period, now: datetime) -> None:
    wrong, statements = {finding.path for finding in section.findings}, list[str]()
    for table in tables:
        is_done = is_partitioned(connections[table.using], table.name)
        section.count(table.name, "tables")
        section.count(table.name, "wrong" if table.name in wrong else "partitioned" if is_done else "to partition")
        if table.name in wrong:
            continue
        if is_done:
            known = partitions(connections[table.using], table.name)
            section.details[table.name] = [one.name for one in known]
            statements += [creation(table, one) for one in missing(known, period, now, table.name)]
        else:
            statements += statements_for(table, period, now)
    section.details[STATEMENTS] = [f"{statement};" for statement in statements]
