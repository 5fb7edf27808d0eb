"""Spreads the tables over the nodes of a cluster with Citus, by user, and checks it before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db import DatabaseError, connections, transaction

from orbsite.models.placement import Placement, Table, tables
from orbsite.operations.ledger.run_lock import alone
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import STATEMENTS, Report, Section
from orbsite.operations.scaling.cluster import Cluster, read_cluster
from orbsite.operations.scaling.obstacles import obstacles, refuse_unless_ready
from orbsite.operations.scaling.steps import Step, steps_for
from orbsite.storage.errors import OrbError
from orbsite.storage.findings import Finding, error
from orbsite.storage.records.domain import Domain
from orbsite.storage.sql.models import RecordRow

SHARDS = 32
"""The number of shards of each distributed table; a cluster cannot have more nodes with data than that."""
COLUMNS = ("tables", "placed", "to place", "wrong")
DATABASE = "database"
_AGAIN = "nothing of this step was kept; mend that, then run the command again, which goes on from here"


def spread(
    domains: Sequence[Domain],
    *,
    apply: bool,
    shards: int = SHARDS,
    using: str = "default",
    progress: Progress = silent,
) -> Report:
    """Report the statements that spread the tables by user, and with `apply`, run them.

    Each step is one transaction, and what was done before is left as it is, so that a run that was stopped is resumed
    by the next one. Raises OrbError, before anything is changed, where the database is not ready.
    """
    report = Report(columns=COLUMNS, bad=("wrong",))
    progress.tells_of(report)
    wanted = _tables_of(domains)
    cluster = read_cluster(using)
    refuse_unless_ready(cluster)
    section = report.section(DATABASE, [one.value for one in Placement])
    section.findings += obstacles(cluster, wanted)
    if not section.findings and apply:
        with alone(using):
            _apply(steps_for(read_cluster(using), wanted, shards), using, section, progress)
        cluster = read_cluster(using)
        section.findings += [*obstacles(cluster, wanted), *_unrouted(cluster, wanted, using)]
    _tell(section, cluster, wanted, shards)
    return report


def _tables_of(domains: Sequence[Domain]) -> list[Table]:
    """Return the tables of some domains, and those that belong to no domain."""
    models = {model for domain in domains for model in domain.models.values()}
    return [table for table in tables() if table.model in models or not issubclass(table.model, RecordRow)]


def _apply(steps: Sequence[Step], using: str, section: Section, progress: Progress) -> None:
    progress.expect(len(steps))
    for step in steps:
        if progress.is_stopping:
            section.findings.append(error(step.table, "the run was stopped before this table; run it again"))
            return
        try:
            _run(step, using)
        except DatabaseError as problem:
            message = " ".join(str(problem).split())
            raise OrbError(f"{step.table}: {step.statement} failed ({message}); {_AGAIN}") from problem
        progress(1)


def _run(step: Step, using: str) -> None:
    connection = connections[using]
    if step.is_alone:
        with connection.cursor() as cursor:
            cursor.execute(step.statement)
        return
    with transaction.atomic(using), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        before = _locked_number(cursor, step) if step.moves_rows else None
        cursor.execute(step.statement)
        after = _number(cursor, step.table) if step.moves_rows else None
        if before != after:
            raise OrbError(f"{step.table} had {before} rows, and has {after} after the change; {_AGAIN}")


def _locked_number(cursor: Any, step: Step) -> int:
    """Return the number of rows of a table, to which nothing is written until the transaction ends."""
    cursor.execute(f'LOCK TABLE "{step.table}" IN SHARE ROW EXCLUSIVE MODE')
    return _number(cursor, step.table)


def _number(cursor: Any, table: str) -> int:
    cursor.execute(f'SELECT count(*) FROM "{table}"')
    return int(cursor.fetchone()[0])


def _unrouted(cluster: Cluster, wanted: Sequence[Table], using: str) -> Iterator[Finding]:
    """Yield the distributed tables of which a query that names a user is not sent to one node."""
    for table in wanted:
        if table.placement is not Placement.DISTRIBUTED:
            continue
        if table.name not in cluster.placed:
            yield error(table.name, "it is not distributed, though its steps were run; run the command again")
            continue
        with connections[using].cursor() as cursor:
            cursor.execute(f"EXPLAIN SELECT * FROM \"{table.name}\" WHERE user_id = 'a'")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        if "Task Count: 1" not in plan:
            yield error(table.name, f"a query for one user goes to several nodes: {plan.splitlines()[0].strip()}")


def _tell(section: Section, cluster: Cluster, wanted: Sequence[Table], shards: int) -> None:
    wrong = {finding.path for finding in section.findings}
    waiting = steps_for(cluster, wanted, shards) if not section.findings else []
    left = {step.table for step in waiting}
    for table in wanted:
        what = "wrong" if table.name in wrong else "to place" if table.name in left else "placed"
        section.count(table.placement.value, "tables")
        section.count(table.placement.value, what)
    if wrong - {table.name for table in wanted}:
        section.count("nodes", "wrong")
    section.details["nodes"] = [str(node) for node in cluster.nodes]
    section.details["placements"] = {
        table.name: f"{table.placement.value}: {table.reason}"
        for table in wanted
        if table.placement is not Placement.LOCAL or issubclass(table.model, RecordRow)
    }
    section.details[STATEMENTS] = [f"{step.statement};" for step in waiting]
