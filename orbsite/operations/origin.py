"""Reads the tables of the earlier system, in SQLite or PostgreSQL, as entries; nothing is ever written there."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import psycopg

from orbsite.storage import jsontext
from orbsite.storage.domain import Domain, Entry
from orbsite.storage.errors import StoreUnavailable
from orbsite.storage.finding import ROOT, path_to, warning
from orbsite.storage.instant import spell
from orbsite.storage.javascript import stringify
from orbsite.storage.reader import Reader
from orbsite.storage.record import Id, Instant, Record, Text, field_names

_PAGE = 1000
_SPACE = " \t\r\n"
"""What JSON counts as white space."""


class Origin:
    """A database of the earlier system. Opened read-only, in one transaction; use it as a context manager."""

    _connection: Any = None

    def __init__(self, url: str) -> None:
        """Open it. Raises StoreUnavailable where the address is none, or nothing answers there."""
        parts = urlsplit(url)
        self.documents = None
        self.name = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        """The address without who signs in, and with what."""
        try:
            if not parts.scheme:
                self._open_sqlite(Path(url))
            elif parts.scheme == "sqlite":  # as in DATABASE_URL: three slashes before a relative path, four before /
                self._open_sqlite(Path(unquote(parts.path.removeprefix("/"))))
            elif parts.scheme in ("postgres", "postgresql"):
                self._open_postgresql(url)
            else:
                raise StoreUnavailable(f"{self.name} is no address of SQLite or PostgreSQL")
        except (sqlite3.Error, psycopg.Error, OSError) as problem:
            if self._connection is not None:
                self._connection.close()
            raise StoreUnavailable(
                f"{self.name} cannot be read: {problem}; check the address, and that it runs"
            ) from problem

    def __enter__(self) -> Origin:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def entries(self, domain: Domain) -> Iterator[Entry]:
        """Yield each row of the domain's tables, by key; a table that is missing has no rows but a remark."""
        for kind, model in domain.models.items():
            table = model._meta.db_table
            columns = self._columns(table)
            if not columns:
                yield Entry(place=(), findings=(warning(ROOT, f"there is no table {table}"),))
                continue
            reader = Reader(kind)
            for values in self._rows(table, kind.key_fields, columns):
                yield _entry(domain, kind, reader, table, dict(zip(columns, values, strict=True)))

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of everything in it; empty where that cannot be told."""
        return {"database": self._digest}

    def expected(self, domain: Domain) -> tuple[int, int]:
        """Return how many rows the domain's tables have, and about how many bytes."""
        tables = [model._meta.db_table for model in domain.models.values()]
        with closing(self._connection.cursor()) as cursor:
            counts = [
                cursor.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()[0]
                for table in tables
                if self._columns(table)
            ]
        return sum(counts), self._size

    def _open_sqlite(self, path: Path) -> None:
        data = path.read_bytes()
        self._digest, self._size = hashlib.sha256(data).hexdigest(), len(data)
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA trusted_schema = OFF")  # whoever made it may have meant no good
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")  # what is no database says so here
        self._ask_for_columns = (  # of plain tables: a view of whoever made it may never come to its end
            "SELECT name FROM pragma_table_info(?1) WHERE EXISTS (SELECT 1 FROM sqlite_master "
            "WHERE type = 'table' AND name = ?1 COLLATE NOCASE AND sql LIKE 'CREATE TABLE%')"
        )

    def _open_postgresql(self, url: str) -> None:
        self._digest, self._size = "", 0
        self._connection = psycopg.connect(url)
        self._connection.read_only = True
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._ask_for_columns = (
            "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 "
            "AND NOT attisdropped ORDER BY attnum"
        )

    def _columns(self, table: str) -> list[str]:
        with closing(self._connection.cursor()) as cursor:
            return [name for (name,) in cursor.execute(self._ask_for_columns, (table,)).fetchall()]

    def _rows(self, table: str, keys: tuple[str, ...], columns: list[str]) -> Iterator[tuple[Any, ...]]:
        names = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in columns)
        statement = f'SELECT {names} FROM "{table}" ORDER BY {", ".join(keys)}'
        if isinstance(self._connection, sqlite3.Connection):
            cursor: Any = self._connection.cursor()
        else:
            cursor = self._connection.cursor(name="orb_import")  # the server keeps what was not fetched yet
        with closing(cursor):
            cursor.execute(statement)
            while page := cursor.fetchmany(_PAGE):
                yield from page


def _entry(domain: Domain, kind: type[Record], reader: Reader[Any], table: str, row: dict[str, Any]) -> Entry:
    key = tuple(str(row.get(name)) for name in kind.key_fields)
    place = (table, *key)
    value = _as_json(domain, kind, row)
    try:
        piece: Any = msgspec.Raw(stringify(value))
    except ValueError:  # a number that JSON has not
        piece = value
    reading = reader.read(piece, path_to(place))
    return Entry(place=place, record=reading.record, value=piece, kind=kind, key=key, findings=tuple(reading.findings))


def _as_json(domain: Domain, kind: type[Record], row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as its record's JSON; columns that no field has are unknown keys, as far as they hold something."""
    names = dict(field_names(kind))
    printed = {}
    for column, value in row.items():
        known = domain.when_null.get(column) if value is None else value
        if known is not None:
            printed[names.get(column, column)] = _plain(known, is_json=column not in _texts(kind))
    return printed


def _plain(value: Any, *, is_json: bool) -> Any:
    if isinstance(value, datetime):
        return spell(value) if value.tzinfo else value.isoformat()
    if is_json and isinstance(value, str) and value.lstrip(_SPACE)[:1] in ("[", "{"):
        try:
            return jsontext.parse(value.encode("utf-8", "surrogatepass"))
        except jsontext.Malformed:  # it stays text, and its record says what it should be
            return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value


def _texts(kind: type[Record]) -> set[str]:
    """Return the columns that hold plain texts and instants, however much they may look like JSON."""
    return {field.name for field in msgspec.structs.fields(kind) if field.type in (Text, Id, Instant)}
