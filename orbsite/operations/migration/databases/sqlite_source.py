"""Reads tables of a foreign SQLite file, which may be malicious.

Only plain tables are read: no view, no virtual table and no function of the file. Each statement can be stopped and has
a deadline.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from orbsite.operations.migration.databases.database_address import Address
from orbsite.operations.migration.databases.source_rows import Column, SourcePage, Unkept
from orbsite.operations.migration.databases.sqlite_file import SqliteFile
from orbsite.operations.progress import Progress, Stopped
from orbsite.storage.driver_errors import driver_message
from orbsite.storage.errors import StoreUnavailable

LARGEST_CELL = 32 << 20
"""The maximum size of a cell in bytes. A row with a larger cell is rejected."""
DEADLINE = 120.0
"""The maximum number of seconds that SQLite may take for one step of a statement."""
_PAGE, _PAGE_BYTES = 1000, 1 << 20
_INSTRUCTIONS = 20_000
"""The number of SQLite instructions between two checks of the deadline and of stop requests."""
_LIMITS = {  # from SQLite's advice for files of unknown origin
    sqlite3.SQLITE_LIMIT_LENGTH: LARGEST_CELL,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1 << 20,
    sqlite3.SQLITE_LIMIT_COLUMN: 1000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 10,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 10,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_CONFIGURED = {"DEFENSIVE": True, "ENABLE_VIEW": False, "ENABLE_TRIGGER": False}
_PRAGMAS = ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0")
_NAME = r"""("(?:[^"]|"")*"|`(?:[^`]|``)*`|'(?:[^']|'')*'|\[[^\]]*\]|[^\s("'`\[,;]+)"""
_CREATED = {
    "table": re.compile(rf"CREATE (?:VIRTUAL )?TABLE {_NAME}", re.IGNORECASE),
    "view": re.compile(rf"CREATE VIEW {_NAME}", re.IGNORECASE),
    "index": re.compile(rf"CREATE (?:UNIQUE )?INDEX {_NAME}", re.IGNORECASE),
    "trigger": re.compile(rf"CREATE TRIGGER {_NAME}", re.IGNORECASE),
}
_PRIMARY = 0xFF
"""The bits of an error code that hold the primary code; the others hold details."""
_ROW_IDS = ("rowid", "_rowid_", "oid")


class SqliteSource:
    """The plain tables of one SQLite file, as of one moment."""

    def __init__(self, address: Address, progress: Progress) -> None:
        """Open the file. Raises StoreUnavailable, sqlite3.Error and OSError."""
        if address.path is None:
            raise TypeError(address.name)
        self._name, self._progress = address.name, progress
        self._file = SqliteFile(address.path, address.name, progress)
        self._deadline = time.monotonic() + DEADLINE
        try:
            self._connection = self._file.connect()
        except BaseException:
            self._file.close()
            raise
        try:
            self._prepare()
            self._tables = self._plain_tables()
            self._connection.set_authorizer(self._is_allowed)
        except BaseException:
            self.close()
            raise

    @property
    def digest(self) -> str:
        """The SHA-256 of the file."""
        return self._file.digest()

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._file.size

    def close(self) -> None:
        """Close the connection and the file."""
        self._connection.close()
        self._file.close()

    def columns(self, table: str) -> list[Column]:
        """Return the columns of a table; empty where there is no such table."""
        return [Column(name) for name in self._tables.get(table.lower(), ())]

    def count(self, table: str) -> int:
        """Return the row count of a table; 0 where it is damaged, because its readable rows are read all the same."""
        try:
            return int(self._one(table, f"SELECT COUNT(*) FROM {_quoted(table)}")[0])
        except StoreUnavailable as problem:
            code = getattr(problem.__cause__, "sqlite_errorcode", 0)
            if code & _PRIMARY != sqlite3.SQLITE_CORRUPT:
                raise
            return 0

    def pages(self, table: str, keys: Sequence[str], columns: Sequence[Column]) -> Iterator[SourcePage]:
        """Yield the rows of a table in pages of about a megabyte. Rows with equal keys follow each other."""
        rows: list[tuple[Any, ...]] = []
        size = 0
        for row in self._rows(table, keys, [column.name for column in columns]):
            rows.append(row)
            size += sum([len(cell) for cell in row if isinstance(cell, str | bytes)])
            if len(rows) == _PAGE or size >= _PAGE_BYTES:
                self._file.check()
                yield SourcePage(rows, size)
                rows, size = [], 0
                self._deadline = time.monotonic() + DEADLINE
        self._file.check()
        yield SourcePage(rows, size)

    def _prepare(self) -> None:
        connection = self._connection
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        if hasattr(connection, "setconfig"):  # from Python 3.12 on
            for name, value in _CONFIGURED.items():
                connection.setconfig(getattr(sqlite3, f"SQLITE_DBCONFIG_{name}"), value)
        connection.set_progress_handler(self._must_stop, _INSTRUCTIONS)

    def _plain_tables(self) -> dict[str, list[str]]:
        """Return the columns of each plain table. Raises StoreUnavailable where the schema contradicts itself."""
        found = {}
        self._connection.text_factory = _any_text
        for kind, name, statement in self._all("the schema", "SELECT type, name, sql FROM sqlite_master"):
            match = _CREATED[kind].match(statement) if kind in _CREATED and isinstance(statement, str) else None
            if statement is not None and (match is None or _unquoted(match[1]).lower() != str(name).lower()):
                raise StoreUnavailable(
                    f"the schema of {self._name} was edited: the definition of a {kind} does not match its type or "
                    "name. Nothing was read; use a copy made by the program that wrote it"
                )
            if kind == "table" and match and not match[0].upper().startswith("CREATE VIRTUAL"):
                found[str(name).lower()] = str(name)
        columns = {low: self._columns_of(name) for low, name in found.items() if not low.startswith("sqlite_")}
        self._unique = {low: list(self._unique_of(found[low])) for low in columns}
        self._connection.text_factory = str
        return columns

    def _columns_of(self, table: str) -> list[str]:
        return [row[1] for row in self._all(table, f"PRAGMA table_info({_quoted(table)})")]

    def _unique_of(self, table: str) -> Iterator[set[str]]:
        """Yield the sets of columns that are unique in a table."""
        for _, index, is_unique, _, is_partial, *_ in self._all(table, f"PRAGMA index_list({_quoted(table)})"):
            if is_unique and not is_partial:
                found = [row[2] for row in self._all(table, f"PRAGMA index_info({_quoted(index)})")]
                if all(isinstance(name, str) for name in found):  # the name is None for an expression
                    yield set(found)

    def _is_allowed(self, action: int, first: str | None, second: str | None, _: str | None, source: str | None) -> int:
        if source is not None:  # within a view or a trigger
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_SELECT:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and first is not None and first.lower() in self._tables:
            return sqlite3.SQLITE_OK
        is_count = action == sqlite3.SQLITE_FUNCTION and second is not None and second.lower() == "count"
        return sqlite3.SQLITE_OK if is_count else sqlite3.SQLITE_DENY

    def _must_stop(self) -> bool:
        return self._progress.is_stopping or time.monotonic() > self._deadline

    def _rows(self, table: str, keys: Sequence[str], names: list[str]) -> Iterator[tuple[Any, ...]]:
        """Yield all rows with one query; from the first row on that Python cannot convert, one by one."""
        shown, source = ", ".join(map(_quoted, names)), _quoted(table)
        order = self._order(table, keys, names)
        self._connection.text_factory = str
        done = 0
        with contextlib.suppress(_UnreadableCell):
            for row in self._steps(table, f"SELECT {shown} FROM {source}{order}"):
                yield row
                done += 1
            return
        row_id = self._row_id(table, names)
        self._connection.text_factory = _any_text
        if row_id is None:
            yield from islice(self._steps(table, f"SELECT {shown} FROM {source}{order}"), done, None)
            return
        one = f"SELECT {shown} FROM {source} WHERE {row_id} = ?"
        for (place,) in islice(self._steps(table, f"SELECT {row_id} FROM {source}{order}"), done, None):
            yield self._row(table, one, place, names, row_id)

    def _order(self, table: str, keys: Sequence[str], names: list[str]) -> str:
        """Return the ORDER BY clause: empty where keys are unique, which is fastest, or one that groups equal keys."""
        if any(unique <= set(keys) for unique in self._unique[table.lower()]):
            return ""
        order = ", ".join(f"{_quoted(key)} COLLATE BINARY" for key in keys if key in names)
        return f" ORDER BY {order}" if order else ""

    def _row(self, table: str, statement: str, place: int, names: list[str], row_id: str) -> tuple[Any, ...]:
        try:
            return self._one(table, statement, place)
        except _UnreadableCell:
            return tuple([self._cell(table, name, row_id, place) for name in names])

    def _row_id(self, table: str, names: list[str]) -> str | None:
        """Return the name of the row id column of a table; None for a table without row ids."""
        taken = {name.lower() for name in names}
        for name in _ROW_IDS:
            if name not in taken:
                try:
                    self._connection.execute(f"SELECT {name} FROM {_quoted(table)} LIMIT 0")
                except sqlite3.OperationalError:
                    return None
                return name
        return None

    def _cell(self, table: str, name: str, row_id: str, place: int) -> Any:
        try:
            return self._one(table, f"SELECT {_quoted(name)} FROM {_quoted(table)} WHERE {row_id} = ?", place)[0]
        except _UnreadableCell:
            return Unkept("", f"holds more than {LARGEST_CELL >> 20} MiB")

    def _one(self, table: str, statement: str, *values: Any) -> tuple[Any, ...]:
        with self._in_time(table):
            row: tuple[Any, ...] | None = self._connection.execute(statement, values).fetchone()
        if row is None:
            raise StoreUnavailable(self._broken(table, "an index refers to a missing row"))
        return row

    def _all(self, table: str, statement: str) -> list[tuple[Any, ...]]:
        with self._in_time(table):
            return self._connection.execute(statement).fetchall()

    def _steps(self, table: str, statement: str) -> Iterator[tuple[Any, ...]]:
        with self._in_time(table):
            yield from self._connection.execute(statement)

    @contextlib.contextmanager
    def _in_time(self, table: str) -> Iterator[None]:
        """Translate SQLite's errors about a table; _UnreadableCell means a cell that is too large or not UTF-8."""
        self._deadline = time.monotonic() + DEADLINE
        try:
            yield
        except sqlite3.Error as problem:
            if isinstance(problem, sqlite3.ProgrammingError):  # it was closed before all rows were read
                return
            if isinstance(problem, sqlite3.DataError) or not hasattr(problem, "sqlite_errorcode"):
                raise _UnreadableCell from None  # the error's message holds the text
            if problem.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                self._file.check()
                raise StoreUnavailable(self._broken(table, driver_message(problem))) from problem
            if time.monotonic() > self._deadline:
                raise StoreUnavailable(
                    f"{table} in {self._name} takes SQLite more than {DEADLINE:.0f} seconds for a page of rows; "
                    "records imported so far are kept. Make a plain copy (VACUUM INTO), and import the copy"
                ) from problem
            raise Stopped("interrupted; the records loaded so far are kept. Run it again to continue") from problem

    def _broken(self, table: str, why: str) -> str:
        return (
            f"{table} in {self._name} cannot be read to its end ({why}); records imported so far are kept. "
            "Recover the database (with .recover of sqlite3, or from a backup), and import the result"
        )


class _UnreadableCell(Exception):
    """A cell that is too large, or a text that is not UTF-8."""


def _any_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _unquoted(name: str) -> str:
    mark = name[:1]
    if mark == "[":
        return name[1:-1]
    return name[1:-1].replace(mark * 2, mark) if mark in ('"', "'", "`") else name
