"""Deletes the rows that a policy selects: they are listed once, in a temporary table, and removed batch by batch.

A batch is one transaction. It copies its rows to the ledger as tombstones and deletes them, except those that were
changed since they were listed. Rows that are stored together are removed together.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import chain
from typing import Any

from django.db import connections, transaction
from typing_extensions import override

from orbsite.storage.encoding import timestamps
from orbsite.storage.errors import Conflict
from orbsite.storage.findings import printable
from orbsite.storage.records.record import Key, columns
from orbsite.storage.retention.future_records import NEWEST, Dated, Future, future
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.models import RecordRow, key_of, read_cells
from orbsite.storage.sql.raw_columns import be_lenient
from orbsite.storage.sql.retention.dialects import Dialect, Postgresql, Sqlite
from orbsite.storage.sql.retention.selection import RetentionSelection
from orbsite.storage.sql.retention.tombstones import LedgerTable, TombstoneColumns

_PAGE = 1000
_SLICE = 50_000
"""The number of rows that are planned at a time in SQLite, because planning blocks writers."""
_MEMORY = "64MB"
"""PostgreSQL's work_mem for sorting."""


def _day(value: Any) -> date | None:
    """Return the day in the start of a day as a database gives it; None for a text that is no valid date."""
    try:
        return value.date() if isinstance(value, datetime) else date.fromisoformat(value)
    except ValueError:
        return None


class RetentionDeletion(ABC):
    """The removal of selected rows from one table. A temporary table lists them from `plan` to `forget`."""

    rest: float
    """The longest pause between batches in seconds, in which other writers can lock the table."""

    def __init__(self, model: type[RecordRow], using: str, dialect: Dialect, policy: Policy, now: datetime) -> None:
        self.kind = model.kind
        self.total = self.number = self.unreadable = 0
        """The number of rows in the table, of rows to remove, and of rows whose time cannot be read."""
        self.future = Future()
        self._ahead = policy.ahead(now)
        self._connection = connections[using]
        be_lenient(self._connection)
        self._selection = RetentionSelection(model, self._connection, dialect, policy, now)
        self._columns_of_tombstones = TombstoneColumns(model, self._connection, dialect)
        self._words = self._selection.reasons()
        self._at = 0
        self._struck: list[Key] = []
        """The keys of unreadable rows that were removed from the list."""
        self.notes = f"orb_removal_{model._meta.db_table}"
        """The name of the temporary table."""
        self._temporary = f"{self._schema}.{self.notes}"

    def plan(self) -> None:
        """Select the rows to remove, list them in the temporary table, and count."""
        self.forget()
        self.future = self._future()
        self._note()
        self._leave_out()
        self.number, self._at = self._rows(f"SELECT count(*), coalesce(min(n), 0) - 1 FROM {self.notes}")[0]

    def _future(self) -> Future:
        """Return the rows with future times."""
        selection = self._selection
        for condition in (selection.is_readable, f"{selection.is_readable} AND {selection.is_instant}"):
            with contextlib.suppress(ValueError):  # a text has the format of a time and is not a valid date
                return self._future_among(condition)
        return Future()

    def _future_among(self, condition: str) -> Future:
        selection = self._selection
        dated = f"FROM {selection.table} WHERE {condition}"
        last = self._rows(f"SELECT {selection.time} {dated} ORDER BY {selection.time} DESC LIMIT 1")
        if self._ahead is None or not last or self._moment(last[0][0]) <= self._ahead:
            return Future()
        names = ", ".join([*selection.keys, selection.user, selection.time])
        rows = self._rows(f"SELECT {names} {dated} ORDER BY {selection.time} DESC LIMIT {NEWEST}")
        newest = [Dated(tuple(key), user, self._moment(moment)) for *key, user, moment in rows]
        is_ahead = f"SELECT count(*) {dated} AND {selection.time} > %s"
        number = int(self._rows(is_ahead, [selection.instant(self._ahead)])[0][0])
        several = f"SELECT min({selection.user}) <> max({selection.user}) {dated}"
        return future(newest, self._ahead, number, has_users=bool(self._rows(several)[0][0]))

    def reasons(self) -> Iterator[tuple[Key, str]]:
        """Yield the key of each row to remove, and the reason."""
        keys = ", ".join(self._selection.keys)
        statement = f"SELECT n, why, {keys} FROM {self.notes} WHERE n > %s ORDER BY n LIMIT {_PAGE}"
        for _, why, *key in chain.from_iterable(self._pages(statement, self._at)):
            yield tuple(key), self._words[why]

    def per_day(self) -> tuple[dict[date, int], dict[date, int]]:
        """Return the numbers of all rows and of the rows to remove, by the UTC days of their times.

        Rows whose time cannot be read are in neither.
        """
        selection = self._selection
        return self._days(f"{selection.table} WHERE {selection.is_readable}"), self._days(self.notes)

    def _days(self, rows: str) -> dict[date, int]:
        counted = self._rows(f"SELECT {self._selection.day}, count(*) FROM {rows} GROUP BY 1")
        found = ((_day(value), number) for value, number in counted)
        return {day: number for day, number in found if day is not None}

    def unreadables(self) -> list[Key]:
        """Return the keys of rows whose time cannot be read, at most 1000."""
        selection = self._selection
        unread = f"NOT ({selection.is_readable})"
        statement = f"SELECT {', '.join(selection.keys)} FROM {selection.table} WHERE {unread} LIMIT {_PAGE}"
        return [tuple(map(printable, key)) for key in self._rows(statement)] if self.unreadable else []

    @property
    def has_struck(self) -> bool:
        """Whether `plan` has excluded rows that do not decode."""
        return bool(self._struck)

    def undecodables(self) -> list[Key]:
        """Return keys of selected rows that do not decode; they are kept, because they could not be restored."""
        keys = ", ".join(f"r.{name}" for name in self._selection.keys)
        rows = f"{self.notes} c JOIN {self._selection.table} r ON {self._is_the_row}"
        statement = (
            f"SELECT {keys} FROM {rows} WHERE ({self._columns_of_tombstones.decodes()}) IS NOT TRUE LIMIT {_PAGE}"
        )
        return self._struck + [tuple(map(printable, key)) for key in self._rows(statement)]

    def _leave_out(self) -> None:
        """Exclude the rows that do not decode, among those that the database's own conditions cannot check."""
        self._struck, names = [], columns(self.kind)
        rows = f"{self.notes} c JOIN {self._selection.table} r ON {self._is_the_row}"
        where = f"c.n > %s AND ({self._columns_of_tombstones.needs_a_look()})"
        statement = (
            f"SELECT c.n, {self._columns_of_tombstones.cells()} FROM {rows} WHERE {where} ORDER BY c.n LIMIT {_PAGE}"
        )
        for page in self._pages(statement, 0):
            cells = [(number, dict(zip(names, row, strict=True))) for number, *row in page]
            bad = [(number, row) for number, row in cells if read_cells(self.kind, row).record is None]
            self._struck += [key_of(self.kind, row) for _, row in bad][: _PAGE - len(self._struck)]
            for number, _ in bad:
                self._run(f"DELETE FROM {self._temporary} WHERE n = %s", [number])

    def next(self, size: int) -> int:
        """Return the last row number of the next batch of `size` rows, 0 if no rows are left."""
        statement = (
            f"SELECT coalesce(max(n), 0) FROM (SELECT n FROM {self.notes} WHERE n > %s ORDER BY n LIMIT {size}) AS b"
        )
        return int(self._rows(statement, [self._at])[0][0])

    def remove(self, to: int, ledger: LedgerTable) -> int:
        """Remove a batch up to a row number; return how many rows were removed. Rows changed since `plan` are kept.

        Call it in a transaction, and `done` after the commit. Raises Conflict; the transaction must then be rolled
        back.
        """
        same = " AND ".join(f"r.{name} = c.{name}" for name in self._selection.noted)
        return self._remove(self._at, to, ledger, f"{same} AND {self._columns_of_tombstones.decodes()}")

    def done(self, to: int) -> None:
        """Record that the batch up to this row number was committed."""
        self._at = to

    def is_shared(self) -> bool:
        """Tell whether other connections have written since the last call and may be waiting for the table."""
        return False

    def forget(self) -> None:
        """Drop the temporary table."""
        self._run(f"DROP TABLE IF EXISTS {self._temporary}")

    @abstractmethod
    def reclaimable(self) -> int:
        """Return the bytes that removed rows leave for reuse, as the database estimates them."""

    _schema: str
    _is_the_row: str
    """The SQL condition that the row `r` of the table is listed as `c` in the temporary table."""

    @abstractmethod
    def _moment(self, value: Any) -> datetime:
        """Return the time in a column's value."""

    @abstractmethod
    def _note(self) -> None:
        """Create the temporary table, with row numbers `n` of 1 or more, and set `total` and `unreadable`."""

    @abstractmethod
    def _remove(self, after: int, to: int, ledger: LedgerTable, is_same: str) -> int:
        """Remove a batch, and return how many rows were removed."""

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, list(values))
            return list(cursor.fetchall())

    def _pages(self, statement: str, after: int) -> Iterator[list[Any]]:
        """Yield the pages of a query for rows after a row number, which is their first column."""
        while page := self._rows(statement, [after]):
            yield page
            after = page[-1][0]

    def _run(self, statement: str, values: Sequence[Any] = ()) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, list(values))
            return int(cursor.rowcount)


class SqliteRetentionDeletion(RetentionDeletion):
    """The removal in SQLite, by rowid. Reading blocks writers, so rows are selected in slices of whole sessions."""

    rest = 0.11  # a connection that waits for the lock tries again every tenth of a second
    _schema = "temp"
    _is_the_row = "r.rowid = c.n"
    _version = 0

    def __init__(self, model: type[RecordRow], using: str, policy: Policy, now: datetime) -> None:
        super().__init__(model, using, Sqlite(), policy, now)
        self._slices = _SLICE if policy.keep_last_of_user is None else None

    @override
    def is_shared(self) -> bool:
        # the data version changes with the commits of other connections
        before, self._version = self._version, int(self._rows("PRAGMA data_version")[0][0])
        return self._version != before

    @override
    def reclaimable(self) -> int:
        """Return the size of the free pages in bytes."""
        statement = "SELECT freelist_count * page_size FROM pragma_freelist_count(), pragma_page_size()"
        return int(self._rows(statement)[0][0])

    @override
    def _moment(self, value: Any) -> datetime:
        return timestamps.parse(f"{value}Z")[0]

    def _note(self) -> None:
        selection = self._selection
        self._run(f"CREATE TABLE {self._temporary} (n INTEGER PRIMARY KEY, {', '.join(selection.noted)}, why INTEGER)")
        after: list[str] = []
        while True:
            to = self._end_of_slice(after)
            bounds = [f"{selection.group} > %s"] * len(after) + [f"{selection.group} <= %s"] * len(to)
            where = " AND ".join(bounds) or "TRUE"
            selected, values = selection.query(where, [*after, *to])
            self._run(f"INSERT OR REPLACE INTO {self._temporary} {selected}", values)
            unread = (
                f"SELECT count(*), count(*) FILTER (WHERE NOT {selection.is_readable}) "
                f"FROM {selection.table} WHERE {where}"
            )
            total, unreadable = self._rows(unread, [*after, *to])[0]
            self.total, self.unreadable = self.total + total, self.unreadable + unreadable
            if not to:
                return
            after = to

    def _end_of_slice(self, after: list[str]) -> list[str]:
        """Return the last session of the next slice, as a list; an empty list if the slice is the last one."""
        if self._slices is None:
            return []
        selection = self._selection
        where = f"WHERE {selection.group} > %s" if after else ""
        statement = (
            f"SELECT {selection.group} FROM {selection.table} {where} "
            f"ORDER BY {selection.group} LIMIT 1 OFFSET {self._slices}"
        )
        return [row[0] for row in self._rows(statement, after)]

    def _remove(self, after: int, to: int, ledger: LedgerTable, is_same: str) -> int:
        columns, expressions, values = self._columns_of_tombstones.columns(ledger, self._words)
        table, target = self._selection.table, self._connection.ops.quote_name(ledger.model._meta.db_table)
        rows = (
            f"FROM {self._temporary} c CROSS JOIN {table} r ON r.rowid = c.n WHERE c.n > %s AND c.n <= %s AND {is_same}"
        )
        recorded_rows = self._run(f"INSERT INTO {target} ({columns}) SELECT {expressions} {rows}", [*values, after, to])
        noted = f"FROM {self._temporary} WHERE n > %s AND n <= %s"
        if recorded_rows == self._rows(f"SELECT count(*) {noted}", [after, to])[0][0]:  # all rows are unchanged
            rows, place = noted, "n"
        else:
            place = "r.rowid"
        removed = self._run(f"DELETE FROM {table} WHERE rowid IN (SELECT {place} {rows})", [after, to])
        if recorded_rows != removed:
            raise Conflict(
                f"{removed} rows would be removed, but {recorded_rows} tombstones written; nothing was written. Run it "
                "again"
            )
        return removed


class PostgresqlRetentionDeletion(RetentionDeletion):
    """The removal in PostgreSQL, by ctid, one statement for each batch; an updated row has a new ctid and is kept."""

    rest = 0.0
    _schema = "pg_temp"
    _is_the_row = "r.ctid = c.place"
    _among: tuple[str, Sequence[Any]] = ("TRUE", ())
    """The condition that rows have to meet to be listed, and its parameters."""

    def __init__(self, model: type[RecordRow], using: str, policy: Policy, now: datetime) -> None:
        super().__init__(model, using, Postgresql(), policy, now)
        self._using = using

    @override
    def reclaimable(self) -> int:
        """Return the share of dead rows in the size of the table and its indexes, in bytes."""
        statement = (
            "SELECT coalesce(pg_total_relation_size(relid) * n_dead_tup / nullif(n_live_tup + n_dead_tup, 0), 0) "
            "FROM pg_stat_user_tables WHERE relid = to_regclass(%s)"
        )
        rows = self._rows(statement, [self._selection.table])
        return int(rows[0][0]) if rows else 0

    @override
    def _moment(self, value: Any) -> datetime:
        moment: datetime = value.astimezone(UTC)
        return moment

    def _note(self) -> None:
        selection, names = self._selection, ", ".join(self._selection.noted)
        selected, values = selection.query(*self._among)
        with transaction.atomic(self._using):
            self._run(f"SET LOCAL work_mem = '{_MEMORY}'")
            self._run(
                f"CREATE TEMP TABLE {self.notes} AS SELECT row_number() OVER (ORDER BY place) AS n, place, {names}, "
                f"why::int AS why FROM ({selected}) AS selected",
                values,
            )
            self._run(f"CREATE UNIQUE INDEX ON {self._temporary} (n)")
            self._run(f"ANALYZE {self._temporary}")
            unread = f"SELECT count(*), count(*) FILTER (WHERE NOT ({selection.is_readable})) FROM {selection.table}"
            self.total, self.unreadable = self._rows(unread)[0]

    def _remove(self, after: int, to: int, ledger: LedgerTable, is_same: str) -> int:
        columns, expressions, values = self._columns_of_tombstones.columns(ledger, self._words)
        table, target = self._selection.table, self._connection.ops.quote_name(ledger.model._meta.db_table)
        statement = (
            f"WITH removed AS (DELETE FROM {table} r USING {self._temporary} c "
            f"WHERE r.ctid = ANY (ARRAY(SELECT place FROM {self._temporary} WHERE n > %s AND n <= %s)) "
            f"AND c.n > %s AND c.n <= %s AND r.ctid = c.place AND {is_same} RETURNING {expressions}) "
            f"INSERT INTO {target} ({columns}) SELECT * FROM removed"
        )
        self._run(f"SET LOCAL work_mem = '{_MEMORY}'")  # keeps the removed rows in memory until they are inserted
        return self._run(statement, [after, to, after, to, *values])


class KeyedRetentionDeletion(PostgresqlRetentionDeletion):
    """The removal in shards or partitions, by key: the place of a row is that in its part, which others have too.

    The nodes of a cluster remove the rows and return their tombstones to the coordinator, which has the ledger.
    """

    def __init__(self, model: type[RecordRow], using: str, policy: Policy, now: datetime) -> None:
        super().__init__(model, using, policy, now)
        self._is_the_row = " AND ".join(f"r.{name} = c.{name}" for name in self._selection.keys)
        self._model_fields = model._meta.concrete_fields

    @override
    def reclaimable(self) -> int:
        """Return 0: each node knows of its own dead rows only."""
        return 0

    def _remove(self, after: int, to: int, ledger: LedgerTable, is_same: str) -> int:
        columns, expressions, values = self._columns_of_tombstones.columns(ledger, self._words)
        table, target = self._selection.table, self._connection.ops.quote_name(ledger.model._meta.db_table)
        row = ", ".join(f"r.{self._connection.ops.quote_name(str(field.column))}" for field in self._model_fields)
        # what the nodes return is put into words on the coordinator, for they return no result of most functions
        statement = (
            f"WITH removed AS (DELETE FROM {table} r USING {self._temporary} c "
            f"WHERE c.n > %s AND c.n <= %s AND {self._is_the_row} AND {is_same} RETURNING {row}, c.why) "
            f"INSERT INTO {target} ({columns}) "
            f"SELECT {expressions} FROM removed r CROSS JOIN LATERAL (SELECT r.why) AS c"
        )
        return self._run(statement, [after, to, *values])
