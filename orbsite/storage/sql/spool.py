"""The rows of tables as of one moment, copied in one read transaction into a file without a name.

The transaction lasts as long as the copying, whoever reads the copy, and however slowly: in SQLite a long one would
keep everybody from saving, and in PostgreSQL from cleaning up.
"""

from __future__ import annotations

import contextlib
import struct
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

import msgspec
from django.db import connections, transaction

from orbsite.runtime.sqlite.text import lenient_text
from orbsite.storage.base.snapshot import Kept, Snapshot
from orbsite.storage.findings import Finding
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import R, Record, columns
from orbsite.storage.records.unreadable import Unread
from orbsite.storage.sql.filters import can_be_stored
from orbsite.storage.sql.models import read_cells, why_unreadable
from orbsite.storage.sql.raw_columns import be_lenient, bound, is_escaped, raw_columns
from orbsite.storage.sql.row_decoder import reader_of

_IN_MEMORY = 1 << 20
_BYTES_OF_TEXT = "bytes"
"""Marks a text that is no UTF-8; no cell is an object of this program's."""
_pack, _unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode
_LENGTH = struct.Struct("<Q")
_ROWS, _BYTES = 1000, 1 << 20
"""As much is decoded at a time, or one row."""


class Spooled(Snapshot):
    """The rows of one domain in a spool."""

    def __init__(
        self, domain: Domain, vendor: str, file: IO[bytes], parts: dict[type[Record], tuple[int, int]]
    ) -> None:
        super().__init__(domain)
        self._vendor, self._file, self._parts = vendor, file, parts

    def records(self, kind: type[R], findings: list[Finding] | None = None) -> Iterator[Kept[R]]:
        """Yield what the rows hold, in the order in which they were read."""
        reader = reader_of(self.domain.models[kind], self._vendor)
        with Unread(findings) as unread:
            for places, rows in self._pages(kind):
                cells = [row[:-1] for row in rows]
                found = None if reader is None else reader.read(cells)
                for number, (at, row) in enumerate(zip(places, rows, strict=True)):
                    record = self._decoded(kind, cells[number], unread) if found is None else found[number]
                    if record is not None:
                        yield Kept(record, _position(row[-1]), at)

    def again(self, kind: type[R], at: Any) -> R:
        """Read its row again."""
        row, _ = self._row(at)
        record = read_cells(kind, dict(zip(columns(kind), row, strict=False))).record
        if record is None:
            raise LookupError(at)
        return record

    def _decoded(self, kind: type[R], row: Sequence[Any], unread: Unread) -> R | None:
        cells = dict(zip(columns(kind), row, strict=True))
        reading = read_cells(kind, cells)
        if reading.record is None:
            unread.add(why_unreadable(kind, cells, reading))
        return reading.record

    def _pages(self, kind: type[Record]) -> Iterator[tuple[list[int], list[tuple[Any, ...]]]]:
        at, end = self._parts[kind]
        while at < end:
            start, places, rows = at, list[int](), list[tuple[Any, ...]]()
            while at < end and len(rows) < _ROWS and at - start < _BYTES:
                places.append(at)
                row, at = self._row(at)
                rows.append(row)
            yield places, rows

    def _row(self, at: int) -> tuple[tuple[Any, ...], int]:
        """Return a row, and where the next one begins."""
        self._file.seek(at)
        (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        return _unpacked(self._file.read(length)), at + _LENGTH.size + length


@contextlib.contextmanager
def spooled(domains: Sequence[Domain], using: str, user_id: str | None = None) -> Iterator[list[Snapshot]]:
    """Yield what the tables of domains hold, all as of one moment; within a transaction, as that one sees them."""
    vendor, is_anybody = connections[using].vendor, user_id is None or can_be_stored(user_id)
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        found: list[Snapshot] = []
        with _one_moment(using):
            for domain in domains:
                parts = {}
                for kind in domain.kinds:
                    start = file.tell()
                    for row in _rows(domain, kind, using, user_id) if is_anybody else ():
                        data = _packed(row)
                        file.write(_LENGTH.pack(len(data)))
                        file.write(data)
                    parts[kind] = start, file.tell()
                found.append(Spooled(domain, vendor, file, parts))
        yield found


@contextlib.contextmanager
def _one_moment(using: str) -> Iterator[None]:
    """Read as of one moment, without keeping others from writing for longer than it lasts."""
    connection = connections[using]
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic(using), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL statement_timeout = 0")
            yield
    else:
        connection.ensure_connection()
        with connection.cursor() as cursor:  # Django's own transactions begin as writers
            cursor.execute("BEGIN DEFERRED")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")


def _rows(domain: Domain, kind: type[Record], using: str, user_id: str | None) -> Iterator[tuple[Any, ...]]:
    """Yield the columns of a kind's rows and their positions, in the order of the records, one row in memory."""
    connection = connections[using]
    be_lenient(connection)
    rows = domain.models[kind]._base_manager.using(using).order_by(*kind.order_fields)
    rows = rows if user_id is None else rows.filter(user_id=user_id)
    shown = rows.values_list(*raw_columns((*columns(kind), "position")))
    sql, parameters = shown.query.get_compiler(using).as_sql()
    with connection.wrap_database_errors:
        if connection.vendor == "postgresql":  # a row at a time, where a cursor would fetch many
            connection.ensure_connection()
            with connection.connection.cursor() as cursor, cursor.copy(f"COPY ({sql}) TO STDOUT", parameters) as copy:
                yield from copy.rows()
        else:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                yield from cursor


def _packed(row: Sequence[Any]) -> bytes:
    try:
        return _pack(row)
    except UnicodeEncodeError:
        return _pack([{_BYTES_OF_TEXT: bound(cell)} if is_escaped(cell) else cell for cell in row])


def _unpacked(data: bytes) -> tuple[Any, ...]:
    row = _unpack(data)
    return tuple(lenient_text(cell[_BYTES_OF_TEXT]) if type(cell) is dict else cell for cell in row)


def _position(cell: Any) -> int | None:
    if isinstance(cell, str):  # PostgreSQL copies text
        return int(cell) if cell.lstrip("-").isdecimal() else None
    return cell if isinstance(cell, int) else None
