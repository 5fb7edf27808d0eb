"""The partitions that retention has detached: they are put back or dropped as a whole, and erased by user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.db import connections

from orbsite.models.ledger import Run
from orbsite.operations.ledger.change_log import record_name
from orbsite.operations.progress import Progress
from orbsite.operations.report import Section
from orbsite.storage.findings import warning
from orbsite.storage.partitions import DEFAULT, KEYS, LOCK_TIMEOUT, Partition, detached, overlap, partitions
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Record
from orbsite.storage.sql.models import column_of
from orbsite.storage.sql.retry import TransactionRetry
from orbsite.storage.sql.store import SqlStore

_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Detached:
    """A detached partition, and the kind of its records."""

    partition: Partition
    kind: type[Record]
    model: Any

    @property
    def name(self) -> str:
        """The quoted name of its table."""
        return f'"{self.partition.name}"'


def detached_of(domains: Iterable[Domain], using: str) -> Iterator[Detached]:
    """Yield the detached partitions of the tables of some domains."""
    for domain in domains:
        for kind, model in domain.models.items():
            for one in detached(connections[using], str(model._meta.db_table)):
                yield Detached(one, kind, model)


def put_back(store: SqlStore, run: int, section: Section, progress: Progress) -> None:
    """Put back the partitions that a run has detached; rows whose key was taken again since stay in its table."""
    attempts = TransactionRetry(store.using)
    for one in list(detached_of([store.domain], store.using)):
        if one.partition.run == run:
            restored, kept = attempts.run(partial(_put_back, one, store.using))
            section.count(one.kind.plural, "restored", restored)
            section.count(one.kind.plural, "kept", len(kept))
            paths = (record_name(one.kind, key) for key in kept[:_LISTED])
            section.findings += [warning(path, "its key was taken again since; that was kept") for path in paths]
            progress(restored)


def _put_back(one: Detached, using: str) -> tuple[int, list[tuple[str, ...]]]:
    """Attach a partition again, or insert its rows where keys were taken; return their number and the keys taken."""
    before = one.partition.attached()
    table, key = f'"{before.table}"', [f'"{column_of(one.model, name).column}"' for name in one.kind.key_fields]
    is_taken = f"EXISTS (SELECT 1 FROM {table} t WHERE {' AND '.join(f't.{name} = d.{name}' for name in key)})"
    names = ", ".join(key)
    with connections[using].cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"SELECT {names} FROM {one.name} d WHERE {is_taken}")
        taken = [tuple(row) for row in cursor.fetchall()]
        if not taken and _is_free(cursor, one, using):
            cursor.execute(f'INSERT INTO "{before.table}_{KEYS}" SELECT {names} FROM {one.name} ON CONFLICT DO NOTHING')
            restored = _number(cursor, one.name)
            cursor.execute(f'ALTER TABLE {one.name} RENAME TO "{before.name}"')
            cursor.execute(f'ALTER TABLE {table} ATTACH PARTITION "{before.name}" FOR VALUES {before.bounds}')
            return restored, []
        cursor.execute(
            f"WITH free AS (DELETE FROM {one.name} d WHERE NOT {is_taken} RETURNING d.*) "
            f"INSERT INTO {table} SELECT * FROM free"
        )
        restored = int(cursor.rowcount)
        if not taken:
            cursor.execute(f"DROP TABLE {one.name}")
        return restored, taken


def _number(cursor: Any, table: str) -> int:
    cursor.execute(f"SELECT count(*) FROM {table}")
    return int(cursor.fetchone()[0])


def _is_free(cursor: Any, one: Detached, using: str) -> bool:
    """Tell whether no other partition has the time of a detached one, nor rows of it."""
    before = one.partition.attached()
    others = partitions(connections[using], before.table)
    if any(overlap(before, other) for other in others):
        return False
    time = f'"{column_of(one.model, str(one.kind.time_field)).column}"'
    cursor.execute(
        f'SELECT NOT EXISTS (SELECT 1 FROM "{before.table}_{DEFAULT}" WHERE {time} >= %s AND {time} < %s)',
        [before.start, before.end],
    )
    return bool(cursor.fetchone()[0])


def drop_expired(domains: Iterable[Domain], before: datetime, using: str = "default") -> int:
    """Drop the partitions that runs before a moment have detached, and those of unknown runs; return how many."""
    found = list(detached_of(domains, using))
    kept = set(Run.objects.using(using).filter(started_at__gte=before).values_list("pk", flat=True)) if found else set()
    expired = [one for one in found if one.partition.run not in kept]
    for one in expired:
        with connections[using].cursor() as cursor:
            cursor.execute(f"DROP TABLE {one.name}")
    return len(expired)


def erase_from_detached(user: str, domains: Iterable[Domain], using: str, *, until: datetime | None = None) -> int:
    """Delete a user's rows from the detached partitions, in the caller's transaction; return how many.

    With `until`, only rows that are not newer.
    """
    number = 0
    for one in detached_of(domains, using):
        time = column_of(one.model, str(one.kind.time_field)).column
        older, values = ("", []) if until is None else (f' AND "{time}" <= %s', [until])
        with connections[using].cursor() as cursor:
            cursor.execute(f"DELETE FROM {one.name} WHERE user_id = %s{older}", [user, *values])
            number += int(cursor.rowcount)
    return number


def users_in_detached(domains: Iterable[Domain], using: str) -> set[str]:
    """Return the users who have rows in detached partitions."""
    users = set[str]()
    for one in detached_of(domains, using):
        with connections[using].cursor() as cursor:
            cursor.execute(f"SELECT DISTINCT user_id FROM {one.name}")
            users.update(name for (name,) in cursor.fetchall())
    return users
