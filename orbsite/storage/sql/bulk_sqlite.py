"""Bulk operations in SQLite by statements of thousands of rows each, which run without Python's lock."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain, islice, repeat
from operator import add, itemgetter
from typing import Any

import msgspec
from django.db import IntegrityError, InternalError, OperationalError

from orbsite.storage.base.store import Comparison, RecordBatch
from orbsite.storage.records.digest import Columns
from orbsite.storage.records.record import R
from orbsite.storage.sql.bulk import Bulk, PageSize
from orbsite.storage.sql.raw_columns import be_lenient, strict_text

_encode = msgspec.json.Encoder().encode
_ROWS = 5000
_PAGE = 2000
_SMALLEST_CACHE, _LARGEST_CACHE, _OF_SIZE = 16 << 20, 64 << 20, 4
"""The limits of the page cache in bytes, and the divisor of the written size; saves 25 % of the time at 10**6 rows."""
_TAKEN = {"SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_ROWID"}


class SqliteBulk(Bulk[R]):
    """Bulk operations on one table in SQLite."""

    def made(self, columns: Columns) -> Sequence[Any]:
        return self.cells.of(columns)

    def rows(self, batch: RecordBatch, run: int | None) -> Sequence[Any]:
        ledger = zip(batch.digests, repeat(run), batch.positions)
        return list(map(add, batch.cells, ledger))

    def compared(self, cells: Sequence[Any]) -> Comparison:
        places = [self.names.index(key) for key in self.keys]
        keys = _encode(list(map(itemgetter(*places), cells))).decode()
        on = " AND ".join(
            f"r.{key} = " + (f"json_extract(k.value, '$[{at}]')" if len(places) > 1 else "k.value")
            for at, key in enumerate(self.keys)
        )
        wanted = ", ".join(f"+r.{name}" for name in self.names)
        rows = self._all(f"SELECT {wanted} FROM json_each(?) k LEFT JOIN {self.table} r ON {on}", [keys])
        # There is one row for each key, in their order, and one of NULL where the table has none.
        pairs = enumerate(zip(rows, cells, strict=True))
        is_there = {at: row[places[0]] is not None for at, (row, ours) in pairs if row != ours}
        return Comparison(
            free=[at for at in is_there if not is_there[at]], other=[at for at in is_there if is_there[at]]
        )

    def _all(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return all rows of a query, faster where every text is UTF-8."""
        be_lenient(self.connection)
        try:
            with self.connection.wrap_database_errors, strict_text(self.connection):
                return list(self._run(statement, values))
        except OperationalError:
            return list(self._run(statement, values))

    def write(self, rows: Sequence[Any]) -> None:
        self._insert(self.table, self.all_names, rows)

    def is_taken(self, problem: IntegrityError | InternalError) -> bool:
        return getattr(problem.__cause__, "sqlite_errorname", "") in _TAKEN

    def read(self, run: int | None, users: Sequence[str] | None = None) -> Iterator[Sequence[tuple[Any, ...]]]:
        # The result of an expression has no declared type, so Django's converters do not apply.
        texts = [f"+{name}" for name in self.names]
        where, values = self.where("?", run, users)
        statement = f"SELECT {', '.join(texts)} FROM {self.table}{where}"
        be_lenient(self.connection)
        rows, done, size = self._run(statement, values), 0, PageSize(_PAGE)
        try:
            while page := self._page(rows, size.rows):
                yield page
                done += len(page)
                size.adapt(page)
        except OperationalError:  # a text is not UTF-8: the rest is read as slowly as that takes
            rows.close()
            rows = islice(self._run(statement, values), done, None)
            while page := list(islice(rows, size.rows)):
                yield page
                size.adapt(page)

    def _page(self, rows: Any, number: int) -> list[tuple[Any, ...]]:
        with self.connection.wrap_database_errors, strict_text(self.connection):
            return list(rows.fetchmany(number))

    @contextlib.contextmanager
    def loading(self, size: int) -> Iterator[None]:
        pages = max(_SMALLEST_CACHE, min(size // _OF_SIZE, _LARGEST_CACHE)) // 1024
        (before,) = self._run("PRAGMA cache_size").fetchone()
        self._run(f"PRAGMA cache_size = -{pages}")
        try:
            yield
        finally:
            if self.connection.connection is not None:
                self._run(f"PRAGMA cache_size = {before}")

    def _insert(self, table: str, names: list[str], rows: Sequence[tuple[Any, ...]]) -> None:
        begin, marks = f"INSERT INTO {table} ({', '.join(names)}) VALUES ", _marks(len(names))
        for part in self._parts(rows, len(names)):
            self._run(begin + ", ".join([marks] * len(part)), list(chain.from_iterable(part)))

    def _parts(self, rows: Sequence[tuple[Any, ...]], width: int) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Yield the rows in parts that fit into the parameter limit of a statement."""
        self.connection.ensure_connection()
        most = self.connection.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        size = max(1, min(_ROWS, most // width))
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def _run(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement without Django, which would copy it for each call, and keep it in memory if DEBUG is on."""
        with self.connection.wrap_database_errors:
            self.connection.ensure_connection()
            return self.connection.connection.execute(statement, values)


def _marks(number: int) -> str:
    return f"({', '.join('?' * number)})"
