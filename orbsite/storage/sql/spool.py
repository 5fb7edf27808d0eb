"""Snapshots of tables, copied in one read transaction into a temporary file.

The transaction ends with the copying, and not with the reading of the copy, which may be slow: a long transaction would
block all writers in SQLite, and vacuuming in PostgreSQL.
"""

from __future__ import annotations

import contextlib
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import msgspec
from django.db import connections, transaction
from typing_extensions import override

from orbsite.runtime.sqlite.text import lenient_text
from orbsite.storage.base.snapshot import Kept, Snapshot
from orbsite.storage.findings import Finding
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import R, Record, columns
from orbsite.storage.records.sealed_columns import open_rows
from orbsite.storage.records.unreadable import Unread
from orbsite.storage.sql.filters import can_be_stored
from orbsite.storage.sql.models import read_cells, read_or_tell
from orbsite.storage.sql.raw_columns import be_lenient, bound, is_escaped, raw_columns
from orbsite.storage.sql.row_decoder import reader_of

_IN_MEMORY = 1 << 20
_BYTES_OF_TEXT = "bytes"
"""Marks a text that is not UTF-8; no raw value is a dict, so the marker is unambiguous."""
_pack, _unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode
_LENGTH = struct.Struct("<Q")
_ROWS, _BYTES = 1000, 1 << 20
"""The limits of a page that is decoded at a time, in rows and in bytes; a page has at least one row."""


class Spooled(Snapshot):
    """A snapshot of one domain whose rows are in a temporary file."""

    def __init__(self, domain: Domain, using: str, file: IO[bytes], parts: dict[type[Record], tuple[int, int]]) -> None:
        super().__init__(domain)
        self._using, self._file, self._parts = using, file, parts

    @override
    def records(self, kind: type[R], findings: list[Finding] | None = None) -> Iterator[Kept[R]]:
        reader = reader_of(self.domain.models[kind], connections[self._using].vendor)
        with Unread(findings) as unread:
            for places, rows in self._pages(kind):
                cells = open_rows(kind, columns(kind), [row[:-1] for row in rows], self._using)
                found: Iterable[R | None] | None = None if reader is None else reader.read(cells)
                if found is None:
                    found = (read_or_tell(kind, dict(zip(columns(kind), row, strict=True)), unread) for row in cells)
                for at, row, record in zip(places, rows, found, strict=True):
                    if record is not None:
                        yield Kept(record, _position(row[-1]), at)

    @override
    def again(self, kind: type[R], at: Any) -> R:
        row, _ = self._row(at)
        (cells,) = open_rows(kind, columns(kind), [row[:-1]], self._using)
        record = read_cells(kind, dict(zip(columns(kind), cells, strict=True))).record
        if record is None:
            raise LookupError(at)
        return record

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
        """Return the row at an offset, and the offset of the next row."""
        self._file.seek(at)
        (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        return _unpacked(self._file.read(length)), at + _LENGTH.size + length


@contextlib.contextmanager
def spooled(domains: Sequence[Domain], using: str, user_id: str | None = None) -> Iterator[list[Snapshot]]:
    """Yield snapshots of several domains, all as of one moment; within a transaction, as that transaction sees them."""
    may_have_rows = user_id is None or can_be_stored(user_id)
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        taken: list[Snapshot] = []
        with _one_moment(using):
            for domain in domains:
                parts = {}
                for kind in domain.kinds:
                    start = file.tell()
                    for row in _rows(domain, kind, using, user_id) if may_have_rows else ():
                        data = _packed(row)
                        file.write(_LENGTH.pack(len(data)))
                        file.write(data)
                    parts[kind] = start, file.tell()
                taken.append(Spooled(domain, using, file, parts))
        yield taken


@contextlib.contextmanager
def _one_moment(using: str) -> Iterator[None]:
    """Run the block in a read transaction as of one moment, which blocks writers at most until it ends."""
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
        with connection.cursor() as cursor:  # Django's own transactions begin as write transactions
            cursor.execute("BEGIN DEFERRED")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")


def _rows(domain: Domain, kind: type[Record], using: str, user_id: str | None) -> Iterator[tuple[Any, ...]]:
    """Yield the raw columns and the position of each row of a kind, in the order of the records, one at a time."""
    connection = connections[using]
    be_lenient(connection)
    rows = domain.models[kind]._base_manager.using(using).order_by(*kind.order_fields)
    rows = rows if user_id is None else rows.filter(user_id=user_id)
    shown = rows.values_list(*raw_columns((*columns(kind), "position")))
    sql, parameters = shown.query.get_compiler(using).as_sql()
    with connection.wrap_database_errors:
        if connection.vendor == "postgresql":  # COPY returns one row at a time; a cursor would fetch all
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
    if isinstance(cell, str):  # PostgreSQL's COPY returns text
        return int(cell) if cell.lstrip("-").isdecimal() else None
    return cell if isinstance(cell, int) else None
