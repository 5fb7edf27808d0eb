"""Partitions by time of a table in PostgreSQL: their names and ranges, and those that retention has detached.

A partition has the name of its table, and the period that it holds. A detached one has the number of the run between
them, such as `te_reflections_run12_m2025_01`, and is a table by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary

DEFAULT, KEYS = "default", "keys"
"""The ends of the names of the partition for all other times, and of the table of keys."""
ON_TAKEN, SKIP, RETRY = "orb.on_taken_key", "skip", "retry"
"""The setting that says what an insert of a row does whose key is taken; without it, that is a violation of the key."""
LOCK_TIMEOUT = "5s"
"""How long a change of partitions waits for readers and writers, which wait behind it."""
_NAME = re.compile(
    r"(?:run(?P<run>\d+)_)?(?P<period>[mwd])(?P<year>\d{4})_(?P<month>\d\d)(?:_(?P<day>\d\d))?", re.ASCII
)
_DECEMBER = 12

_known: WeakKeyDictionary[Any, dict[str, bool]] = WeakKeyDictionary()
"""Which tables are partitioned, by the driver's connection."""


class Period(StrEnum):
    """The length of the time that one partition holds; it begins at midnight UTC, a week on Monday."""

    MONTH = "month"
    WEEK = "week"
    DAY = "day"

    @property
    def ahead(self) -> int:
        """The number of partitions that are made in advance."""
        return {Period.MONTH: 3, Period.WEEK: 4, Period.DAY: 7}[self]

    def start(self, moment: datetime) -> datetime:
        """Return the start of the period with a moment."""
        day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self is Period.MONTH:
            return day.replace(day=1)
        return day - timedelta(days=day.weekday()) if self is Period.WEEK else day

    def end(self, start: datetime) -> datetime:
        """Return the end of the period that begins at `start`, in the year 9999 at the latest."""
        if self is not Period.MONTH:
            return start + timedelta(days=7 if self is Period.WEEK else 1)
        return start.replace(year=start.year + start.month // _DECEMBER, month=start.month % _DECEMBER + 1)


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """A partition of a table, or a table that was one until a run of retention detached it."""

    table: str
    start: datetime
    period: Period
    run: int | None = None
    """The run that has detached it."""

    @property
    def end(self) -> datetime:
        """The end of its time, which it does not hold."""
        return self.period.end(self.start)

    @property
    def name(self) -> str:
        """The name of its table."""
        by = "" if self.run is None else f"run{self.run}_"
        day = "" if self.period is Period.MONTH else f"_{self.start:%d}"
        return f"{self.table}_{by}{self.period.value[0]}{self.start.year:04}_{self.start:%m}{day}"

    @property
    def bounds(self) -> str:
        """Its bounds in SQL."""
        return f"FROM ('{_in_sql(self.start)}') TO ('{_in_sql(self.end)}')"

    @classmethod
    def of_name(cls, table: str, name: str) -> Partition | None:
        """Return the partition of a table with a name, None for another name."""
        match = _NAME.fullmatch(name.removeprefix(f"{table}_")) if name.startswith(f"{table}_") else None
        if match is None:
            return None
        period = next(one for one in Period if one.value[0] == match["period"])
        try:
            start = datetime(int(match["year"]), int(match["month"]), int(match["day"] or 1), tzinfo=UTC)
        except ValueError:
            return None
        found = cls(table, start, period, int(match["run"]) if match["run"] else None)
        return found if found.name == name else None

    def of_run(self, run: int) -> Partition:
        """Return what it is called after a run has detached it."""
        return Partition(self.table, self.start, self.period, run)

    def attached(self) -> Partition:
        """Return what it was called before."""
        return Partition(self.table, self.start, self.period)


def is_of_partitions(table: str, name: str) -> bool:
    """Tell whether a name is that of a partition of a table, or of the one for all other times, or of its keys."""
    return name in (f"{table}_{DEFAULT}", f"{table}_{KEYS}") or Partition.of_name(table, name) is not None


def is_partitioned(connection: Any, table: str) -> bool:
    """Tell whether a table is partitioned; asked once for each connection of the driver."""
    if connection.vendor != "postgresql":
        return False
    connection.ensure_connection()
    known = _known.setdefault(connection.connection, {})
    if table not in known:
        with connection.cursor() as cursor:
            cursor.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)", [f'"{table}"'])
            row = cursor.fetchone()
        known[table] = bool(row and row[0])
    return known[table]


def forget(connection: Any) -> None:
    """Ask again which tables are partitioned."""
    if connection.vendor == "postgresql" and connection.connection is not None:
        _known.pop(connection.connection, None)


def partitions(connection: Any, table: str) -> list[Partition]:
    """Return the partitions of a table with our names, without that for all other times, in the order of time."""
    statement = (
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass"
    )
    names = _names(connection, statement, [f'"{table}"'])
    found = (Partition.of_name(table, name) for name in names)
    return sorted(one for one in found if one is not None and one.run is None)


def detached(connection: Any, table: str) -> list[Partition]:
    """Return the tables that were partitions of a table until runs detached them, in the order of time."""
    if connection.vendor != "postgresql":
        return []
    statement = (
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid) AND NOT relispartition "
        "AND starts_with(relname, %s)"
    )
    found = (Partition.of_name(table, name) for name in _names(connection, statement, [f"{table}_run"]))
    return sorted((one for one in found if one is not None and one.run is not None), key=lambda one: one.start)


def missing(known: Sequence[Partition], period: Period, now: datetime, table: str) -> list[Partition]:
    """Return the partitions for this period and the next ones that are not among the known ones."""
    wanted, start = list[Partition](), period.start(now)
    for _ in range(period.ahead + 1):
        wanted.append(Partition(table, start, period))
        start = period.end(start)
    return [one for one in wanted if not any(overlap(one, other) for other in known)]


def overlap(one: Partition, other: Partition) -> bool:
    """Tell whether two partitions would hold the same times."""
    return one.start < other.end and other.start < one.end


@contextmanager
def on_taken_key(cursor: Any, action: str) -> Iterator[None]:
    """Let inserts into partitioned tables skip rows whose key is taken, or fail so that the transaction is retried.

    Use it in a transaction.
    """
    cursor.execute("SELECT set_config(%s, %s, true)", [ON_TAKEN, action])
    yield
    cursor.execute("SELECT set_config(%s, '', true)", [ON_TAKEN])


def _names(connection: Any, statement: str, values: Iterable[Any]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(statement, list(values))
        return [name for (name,) in cursor.fetchall()]


def _in_sql(moment: datetime) -> str:
    return f"{moment.year:04}-{moment:%m-%d} 00:00:00+00"
