"""Reads the tables of a foreign PostgreSQL database, in one read-only transaction."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from hashlib import sha256
from typing import Any

import psycopg
from psycopg.adapt import Buffer, Loader
from psycopg.errors import InsufficientPrivilege

from orbsite.operations.migration.databases.database_address import Address
from orbsite.operations.migration.databases.source_rows import Column, SourcePage, Unkept
from orbsite.operations.progress import Progress, Stopped
from orbsite.storage.driver_errors import driver_message
from orbsite.storage.encoding import json_parser
from orbsite.storage.errors import StoreUnavailable

_FIRST, _MOST, _PAGE_BYTES = 50, 1000, 1 << 20
_SETTINGS = (
    "row_security = off",  # an error where a policy would hide rows
    "lock_timeout = '30s'",
    "synchronize_seqscans = off",  # the same order each time
    "TimeZone = 'UTC'",
    "DateStyle = 'ISO'",
    "extra_float_digits = 3",
)
_COLUMNS = """
    SELECT attname::text, format_type(atttypid, NULL)::text FROM pg_attribute
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
    AND EXISTS (SELECT FROM pg_class WHERE pg_class.oid = attrelid AND relkind IN ('r', 'p', 'v', 'm', 'f'))
    ORDER BY attnum
"""
_ELSEWHERE = """
    SELECT nspname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relname = %s AND relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname !~ '^(pg_|information_schema$)'
    ORDER BY nspname LIMIT 1
"""
_UNIQUE = """
    SELECT COUNT(*) FROM pg_index
    WHERE indrelid = to_regclass(%s) AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL
    AND (
        SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey)
    ) <@ %s::text[]
"""
_Convert = Callable[[str], Any]


class PostgresqlSource:
    """The tables of one database, as of one moment."""

    def __init__(self, address: Address, progress: Progress) -> None:
        """Connect to the database. Raises psycopg.Error."""
        self._address, self._progress = address, progress
        self._converts: dict[str, list[tuple[str, _Convert | None]]] = {}
        self.size = 0
        """The approximate size in bytes of the tables counted so far."""
        self._connection: psycopg.Connection[Any] = psycopg.connect(address.text)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection to the database."""
        self._connection.close()

    def columns(self, table: str) -> list[Column]:
        """Return the columns of a table; empty where there is no such table. Raises StoreUnavailable."""
        with self._translated(table):
            found: list[tuple[str, str]] = self._connection.execute(_COLUMNS, (table,)).fetchall()
            if not found:
                self._refuse_elsewhere(table)
        forms = [_describe(name, kind) for name, kind in found]
        self._converts[table] = [(shown, convert) for shown, convert, _ in forms]
        return [column for _, _, column in forms]

    def count(self, table: str) -> int:
        """Return the row count of a table, and add its size to `size`. Raises StoreUnavailable."""
        with self._translated(table):
            number = self._one(f"SELECT COUNT(*) FROM {_quoted(table)}")
            self.size += self._one("SELECT COALESCE(pg_total_relation_size(to_regclass(%s)), 0)", table)
        return number

    def pages(self, table: str, keys: Sequence[str], columns: Sequence[Column]) -> Iterator[SourcePage]:
        """Yield the rows of a table in pages of about a megabyte. Rows with equal keys follow each other."""
        names = {column.name for column in columns}
        shown = ", ".join(shown for shown, _ in self._converts[table])
        order = ", ".join(_quoted(key) for key in keys if key in names and not self._is_unique(table, keys))
        statement = f"SELECT {shown} FROM {_quoted(table)}{f' ORDER BY {order}' if order else ''}"
        converts = [convert for _, convert in self._converts[table]]
        number = _FIRST
        # the server keeps the rows that are not fetched yet
        with self._translated(table), closing(self._connection.cursor(name="orb_import")) as cursor:
            cursor.execute(statement.encode(self._codec))
            while rows := cursor.fetchmany(number):
                size = sum(len(cell) for row in rows for cell in row if isinstance(cell, str | bytes))
                yield SourcePage([_converted(row, converts) for row in rows], size)
                number = max(1, min(_MOST, 2 * number, _PAGE_BYTES * len(rows) // max(size, 1)))
                if self._progress.is_stopping:
                    raise Stopped("interrupted; the records loaded so far are kept. Run it again to continue")

    def _prepare(self) -> None:
        connection = self._connection
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for setting in _SETTINGS:
            connection.execute(f"SET {setting}".encode())
        self._use_server_encoding()
        row = connection.execute("SELECT current_user::text, txid_current_snapshot()::text").fetchone() or ("", "")
        self._role = str(row[0])
        self.digest = sha256(str(row[1]).encode()).hexdigest()
        """The digest of the visible transactions. It changes with every write."""

    def _use_server_encoding(self) -> None:
        """Have the server send texts in its own encoding. A text that it cannot convert would abort the statement."""
        connection = self._connection
        encoding = connection.info.parameter_status("server_encoding") or "UTF8"
        connection.execute(f"SET client_encoding TO '{encoding}'".encode())
        try:
            self._codec = connection.info.encoding
        except psycopg.NotSupportedError:  # Python lacks the encoding, so that the server has to convert
            connection.execute(b"SET client_encoding TO 'UTF8'")
            self._codec = "utf-8"
        codec = self._codec = "utf-8" if self._codec == "ascii" else self._codec  # SQL_ASCII can hold any bytes

        class TextLoader(Loader):
            def load(self, data: Buffer) -> str:
                return str(data, codec, "surrogateescape")

        for kind in ("text", "name"):
            connection.adapters.register_loader(kind, TextLoader)

    def _one(self, statement: str, *values: Any) -> int:
        (found,) = self._connection.execute(statement.encode(), values).fetchone() or (0,)
        return int(found)

    def _is_unique(self, table: str, keys: Sequence[str]) -> bool:
        """Tell whether the keys of a table are unique. Its rows are then read in physical order, which is fastest."""
        return bool(self._one(_UNIQUE, table, list(keys)))

    def _refuse_elsewhere(self, table: str) -> None:
        """Raise StoreUnavailable where the table exists in a schema that the role does not search or may not use."""
        found = self._connection.execute(_ELSEWHERE, (table,)).fetchone()
        if found is not None:
            raise StoreUnavailable(
                f"{self._address.name} has the table {table} in the schema {found[0]}, where the role {self._role} "
                f"does not find it; connect as the owner, GRANT USAGE ON SCHEMA {found[0]}, or search it "
                f"(PGOPTIONS='-c search_path={found[0]}')"
            )

    @contextlib.contextmanager
    def _translated(self, table: str) -> Iterator[None]:
        """Translate the errors of the server about a table."""
        try:
            yield
        except InsufficientPrivilege as problem:
            why = problem.diag.message_primary or ""
            if "row-level security" in why:
                message = (
                    f"a row-level security policy hides rows of {table} in {self._address.name} from the role "
                    f"{self._role}: connect as a superuser or a role with BYPASSRLS, or as the owner of the table "
                    "where it does not FORCE ROW LEVEL SECURITY"
                )
            else:
                message = (
                    f"the role {self._role} cannot read {table} in {self._address.name} ({why}): connect as its "
                    f'owner, or GRANT SELECT ON {table} TO "{self._role}"'
                )
            raise StoreUnavailable(f"{message}. Records imported before are kept") from problem
        except psycopg.Error as problem:
            why = self._address.masked(driver_message(problem))
            raise StoreUnavailable(
                f"{table} in {self._address.name} cannot be read ({why}); records imported so far are kept. "
                "Check that the server runs, then run this again"
            ) from problem


def _describe(name: str, kind: str) -> tuple[str, _Convert | None, Column]:
    """Return the SQL expression of a column, the conversion of its text, and its properties."""
    quoted = _quoted(name)
    if kind in ("bytea", "boolean"):
        return quoted, None, Column(name)
    if kind in ("json", "jsonb"):
        return f"{quoted}::text", None, Column(name, is_json=True)
    if kind in _NUMBERS:
        return f"{quoted}::text", _NUMBERS[kind], Column(name)
    if kind in _TEXTS or kind in _TIMES:
        return f"{quoted}::text", None, Column(name, is_json=False, is_time=kind in _TIMES)
    return f"to_jsonb({quoted})::text", _parsed, Column(name, is_json=False)


def _number(text: str) -> Any:
    """Return a numeric as a JSON number, if a double holds it exactly."""
    if text.lstrip("-").isdecimal():
        return int(text)
    number = float(text)
    if math.isnan(number) or Decimal(text) == Decimal(repr(number)):
        return number
    return Unkept(text, "the number has more digits than a double keeps")


def _parsed(text: str) -> Any:
    try:
        return json_parser.parse(text.encode("utf-8", "surrogateescape"))
    except json_parser.MalformedJSON:
        return text


_TEXTS = ("text", "character varying", "name", "uuid")
_TIMES = ("timestamp with time zone", "timestamp without time zone")
_NUMBERS: dict[str, _Convert] = {
    **dict.fromkeys(("smallint", "integer", "bigint", "oid"), int),
    **dict.fromkeys(("real", "double precision"), float),
    "numeric": _number,
}


def _converted(row: tuple[Any, ...], converts: Sequence[_Convert | None]) -> tuple[Any, ...]:
    return tuple(
        [
            cell if convert is None or cell is None else convert(cell)
            for cell, convert in zip(row, converts, strict=True)
        ]
    )


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
