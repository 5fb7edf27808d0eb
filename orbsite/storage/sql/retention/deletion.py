"""What a policy condemns in a table: noted once, in a temporary table, and removed batch by batch.

A batch is one transaction: it copies its rows to the ledger as tombstones and removes them, as far as they are still
what they were. Rows that lie together go together.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connections, transaction

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
"""As many rows are planned at a time in SQLite, where nobody can write meanwhile."""
_MEMORY = "64MB"
"""What PostgreSQL may sort in."""


def retention_deletion(model: type[RecordRow], using: str, policy: Policy, now: datetime) -> RetentionDeletion:
    """Return what a policy condemns in a model's table; nothing is looked at before `plan`."""
    vendor = connections[using].vendor
    return (PostgresqlRetentionDeletion if vendor == "postgresql" else SqliteRetentionDeletion)(
        model, using, policy, now
    )


class RetentionDeletion(ABC):
    """What goes from one table. Temporary notes are kept from `plan` to `forget`."""

    rest: float
    """Seconds between batches, at most, in which whoever waits for the table can have it."""

    def __init__(self, model: type[RecordRow], using: str, dialect: Dialect, policy: Policy, now: datetime) -> None:
        self.kind = model.kind
        self.total = self.number = self.unreadable = 0
        """How many rows there are, how many of them go, and how many have no time that can be read."""
        self.future = Future()
        self._ahead = policy.ahead(now)
        self._connection = connections[using]
        be_lenient(self._connection)
        self._choice = RetentionSelection(model, self._connection, dialect, policy, now)
        self._columns_of_tombstones = TombstoneColumns(model, self._connection, dialect)
        self._words = self._choice.reasons()
        self._at = 0
        self._struck: list[Key] = []
        self.notes = f"orb_condemned_{model._meta.db_table}"
        self._temporary = f"{self._schema}.{self.notes}"

    def plan(self) -> None:
        """Look at the table and note what goes."""
        self.forget()
        self.future = self._future()
        self._note()
        self._leave_out()
        self.number, self._at = self._rows(f"SELECT count(*), coalesce(min(n), 0) - 1 FROM {self.notes}")[0]

    def _future(self) -> Future:
        """Return what is from the future."""
        choice = self._choice
        for condition in (choice.is_readable, f"{choice.is_readable} AND {choice.is_instant}"):
            with contextlib.suppress(ValueError):  # one is spelled as an instant, and is in no calendar
                return self._future_among(condition)
        return Future()

    def _future_among(self, condition: str) -> Future:
        choice = self._choice
        dated = f"FROM {choice.table} WHERE {condition}"
        last = self._rows(f"SELECT {choice.time} {dated} ORDER BY {choice.time} DESC LIMIT 1")
        if self._ahead is None or not last or self._moment(last[0][0]) <= self._ahead:
            return Future()
        names = ", ".join([*choice.keys, choice.user, choice.time])
        found = self._rows(f"SELECT {names} {dated} ORDER BY {choice.time} DESC LIMIT {NEWEST}")
        newest = [Dated(tuple(key), user, self._moment(moment)) for *key, user, moment in found]
        is_ahead = f"SELECT count(*) {dated} AND {choice.time} > %s"
        number = int(self._rows(is_ahead, [choice.instant(self._ahead)])[0][0])
        several = f"SELECT min({choice.user}) <> max({choice.user}) {dated}"
        return future(newest, self._ahead, number, has_users=bool(self._rows(several)[0][0]))

    def reasons(self) -> Iterator[tuple[Key, str]]:
        """Yield the key of each row that goes, and why."""
        keys, after = ", ".join(self._choice.keys), self._at
        while True:
            statement = f"SELECT n, why, {keys} FROM {self.notes} WHERE n > %s ORDER BY n LIMIT {_PAGE}"
            found = self._rows(statement, [after])
            for _, why, *key in found:
                yield tuple(key), self._words[why]
            if not found:
                return
            after = found[-1][0]

    def unreadables(self) -> list[Key]:
        """Return the keys of some rows with a time that cannot be read."""
        choice = self._choice
        unread = f"NOT ({choice.is_readable})"
        statement = f"SELECT {', '.join(choice.keys)} FROM {choice.table} WHERE {unread} LIMIT {_PAGE}"
        return [tuple(map(printable, key)) for key in self._rows(statement)] if self.unreadable else []

    @property
    def has_struck(self) -> bool:
        """Whether rows were left out already because they do not decode."""
        return bool(self._struck)

    def undecodables(self) -> list[Key]:
        """Return the keys of some of the noted rows that do not decode, and so could not be brought back."""
        keys = ", ".join(f"r.{name}" for name in self._choice.keys)
        rows = f"{self.notes} c JOIN {self._choice.table} r ON {self._is_the_row}"
        statement = (
            f"SELECT {keys} FROM {rows} WHERE ({self._columns_of_tombstones.decodes()}) IS NOT TRUE LIMIT {_PAGE}"
        )
        return self._struck + [tuple(map(printable, key)) for key in self._rows(statement)]

    def _leave_out(self) -> None:
        """Strike out the rows of which the database cannot tell that they do not decode, and a reader can."""
        self._struck, after, names = [], 0, columns(self.kind)
        rows = f"{self.notes} c JOIN {self._choice.table} r ON {self._is_the_row}"
        where = f"c.n > %s AND ({self._columns_of_tombstones.needs_a_look()})"
        statement = (
            f"SELECT c.n, {self._columns_of_tombstones.cells()} FROM {rows} WHERE {where} ORDER BY c.n LIMIT {_PAGE}"
        )
        while page := self._rows(statement, [after]):
            cells = [(number, dict(zip(names, row, strict=True))) for number, *row in page]
            bad = [(number, one) for number, one in cells if read_cells(self.kind, one).record is None]
            self._struck += [key_of(self.kind, one) for _, one in bad][: _PAGE - len(self._struck)]
            for number, _ in bad:
                self._run(f"DELETE FROM {self._temporary} WHERE n = %s", [number])
            after = page[-1][0]

    def next(self, size: int) -> int:
        """Return the end of the next batch of so many, 0 where none is left."""
        statement = (
            f"SELECT coalesce(max(n), 0) FROM (SELECT n FROM {self.notes} WHERE n > %s ORDER BY n LIMIT {size}) AS b"
        )
        return int(self._rows(statement, [self._at])[0][0])

    def remove(self, to: int, ledger: LedgerTable) -> int:
        """Remove a batch, up to this end, and return how many rows were still as they were noted.

        To be called in a transaction, and to be followed by `done`. Raises Conflict, and the transaction has to be
        given up then.
        """
        same = " AND ".join(f"r.{name} = c.{name}" for name in self._choice.noted)
        return self._remove(self._at, to, ledger, f"{same} AND {self._columns_of_tombstones.decodes()}")

    def done(self, to: int) -> None:
        """Note that a batch is committed."""
        self._at = to

    def is_shared(self) -> bool:
        """Tell whether somebody else has written since this was asked last, as far as that would be in their way."""
        return False

    def forget(self) -> None:
        """Drop the notes."""
        self._run(f"DROP TABLE IF EXISTS {self._temporary}")

    @abstractmethod
    def reclaimable(self) -> int:
        """Return the bytes that removed rows leave to be used again, as far as the database can tell."""

    _schema: str
    _is_the_row: str
    """The condition that `r` is the row that the note `c` is about."""

    @abstractmethod
    def _moment(self, value: Any) -> datetime:
        """Return what a column of instants holds."""

    @abstractmethod
    def _note(self) -> None:
        """Make the notes, numbered `n` from 1 or more on, and count."""

    @abstractmethod
    def _remove(self, after: int, to: int, ledger: LedgerTable, is_same: str) -> int:
        """Remove a batch, and return how many rows it was."""

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, list(values))
            return list(cursor.fetchall())

    def _run(self, statement: str, values: Sequence[Any] = ()) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, list(values))
            return int(cursor.rowcount)


class SqliteRetentionDeletion(RetentionDeletion):
    """In SQLite, by row numbers. Whoever reads keeps writers waiting: it is planned some sessions at a time."""

    rest = 0.11  # whoever waits for a batch sleeps for a tenth of a second before it looks again
    _schema = "temp"
    _is_the_row = "r.rowid = c.n"
    _version = 0

    def __init__(self, model: type[RecordRow], using: str, policy: Policy, now: datetime) -> None:
        super().__init__(model, using, Sqlite(), policy, now)
        self._slices = _SLICE if policy.keep_last_of_user is None else None

    def is_shared(self) -> bool:
        """Ask for the version of the data, which changes with what other connections commit."""
        before, self._version = self._version, int(self._rows("PRAGMA data_version")[0][0])
        return self._version != before

    def reclaimable(self) -> int:
        """Return the bytes of free pages."""
        statement = "SELECT freelist_count * page_size FROM pragma_freelist_count(), pragma_page_size()"
        return int(self._rows(statement)[0][0])

    def _moment(self, value: Any) -> datetime:
        return timestamps.parse(f"{value}Z")[0]

    def _note(self) -> None:
        choice = self._choice
        self._run(f"CREATE TABLE {self._temporary} (n INTEGER PRIMARY KEY, {', '.join(choice.noted)}, why INTEGER)")
        after: list[str] = []
        while True:
            to = self._end_of_slice(after)
            bounds = [f"{choice.group} > %s"] * len(after) + [f"{choice.group} <= %s"] * len(to)
            where = " AND ".join(bounds) or "TRUE"
            chosen, values = choice.query(where, [*after, *to])
            self._run(f"INSERT OR REPLACE INTO {self._temporary} {chosen}", values)
            unread = (
                f"SELECT count(*), count(*) FILTER (WHERE NOT {choice.is_readable}) FROM {choice.table} WHERE {where}"
            )
            total, unreadable = self._rows(unread, [*after, *to])[0]
            self.total, self.unreadable = self.total + total, self.unreadable + unreadable
            if not to:
                return
            after = to

    def _end_of_slice(self, after: list[str]) -> list[str]:
        """Return the last session of the next slice; nothing for all the rest."""
        if self._slices is None:
            return []
        choice = self._choice
        where = f"WHERE {choice.group} > %s" if after else ""
        statement = (
            f"SELECT {choice.group} FROM {choice.table} {where} ORDER BY {choice.group} LIMIT 1 OFFSET {self._slices}"
        )
        return [row[0] for row in self._rows(statement, after)]

    def _remove(self, after: int, to: int, ledger: LedgerTable, is_same: str) -> int:
        columns, expressions, values = self._columns_of_tombstones.columns(ledger, self._words)
        table, target = self._choice.table, self._connection.ops.quote_name(ledger.model._meta.db_table)
        rows = (
            f"FROM {self._temporary} c CROSS JOIN {table} r ON r.rowid = c.n WHERE c.n > %s AND c.n <= %s AND {is_same}"
        )
        recorded_rows = self._run(f"INSERT INTO {target} ({columns}) SELECT {expressions} {rows}", [*values, after, to])
        noted = f"FROM {self._temporary} WHERE n > %s AND n <= %s"
        if recorded_rows == self._rows(f"SELECT count(*) {noted}", [after, to])[0][0]:  # nobody has changed any of them
            rows, place = noted, "n"
        else:
            place = "r.rowid"
        removed = self._run(f"DELETE FROM {table} WHERE rowid IN (SELECT {place} {rows})", [after, to])
        if recorded_rows != removed:
            raise Conflict(
                f"{removed} rows would go and {recorded_rows} be kept as tombstones; nothing was written. Run it again"
            )
        return removed


class PostgresqlRetentionDeletion(RetentionDeletion):
    """In PostgreSQL, by where rows lie, in one statement a batch; a row that was updated lies elsewhere, and stays."""

    rest = 0.0
    _schema = "pg_temp"
    _is_the_row = "r.ctid = c.place"

    def __init__(self, model: type[RecordRow], using: str, policy: Policy, now: datetime) -> None:
        super().__init__(model, using, Postgresql(), policy, now)
        self._using = using

    def reclaimable(self) -> int:
        """Return the share of dead rows in the table and its indexes."""
        statement = (
            "SELECT coalesce(pg_total_relation_size(relid) * n_dead_tup / nullif(n_live_tup + n_dead_tup, 0), 0) "
            "FROM pg_stat_user_tables WHERE relid = to_regclass(%s)"
        )
        found = self._rows(statement, [self._choice.table])
        return int(found[0][0]) if found else 0

    def _moment(self, value: Any) -> datetime:
        moment: datetime = value.astimezone(UTC)
        return moment

    def _note(self) -> None:
        choice, names = self._choice, ", ".join(self._choice.noted)
        chosen, values = choice.query()
        with transaction.atomic(self._using):
            self._run(f"SET LOCAL work_mem = '{_MEMORY}'")
            self._run(
                f"CREATE TEMP TABLE {self.notes} AS SELECT row_number() OVER (ORDER BY place) AS n, place, {names}, "
                f"why::int AS why FROM ({chosen}) AS chosen",
                values,
            )
            self._run(f"CREATE UNIQUE INDEX ON {self._temporary} (n)")
            self._run(f"ANALYZE {self._temporary}")
            unread = f"SELECT count(*), count(*) FILTER (WHERE NOT ({choice.is_readable})) FROM {choice.table}"
            self.total, self.unreadable = self._rows(unread)[0]

    def _remove(self, after: int, to: int, ledger: LedgerTable, is_same: str) -> int:
        columns, expressions, values = self._columns_of_tombstones.columns(ledger, self._words)
        table, target = self._choice.table, self._connection.ops.quote_name(ledger.model._meta.db_table)
        statement = (
            f"WITH gone AS (DELETE FROM {table} r USING {self._temporary} c "
            f"WHERE r.ctid = ANY (ARRAY(SELECT place FROM {self._temporary} WHERE n > %s AND n <= %s)) "
            f"AND c.n > %s AND c.n <= %s AND r.ctid = c.place AND {is_same} RETURNING {expressions}) "
            f"INSERT INTO {target} ({columns}) SELECT * FROM gone"
        )
        self._run(f"SET LOCAL work_mem = '{_MEMORY}'")  # what goes waits in memory, not in a file
        return self._run(statement, [after, to, after, to, *values])
