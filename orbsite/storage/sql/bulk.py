"""The interface for bulk comparison and bulk writes of rows, which each database implements in its fastest way."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Generic

import msgspec
from django.db import IntegrityError, InternalError

from orbsite.storage.base.store import Comparison, RecordBatch
from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.errors import Conflict
from orbsite.storage.records.changes import Put, as_json
from orbsite.storage.records.digest import CanonicalPrinter, Columns, digest, line_of
from orbsite.storage.records.record import Id, R, Record, columns, declared, holds_texts_alone
from orbsite.storage.records.sealed_columns import (
    is_sealing,
    open_rows,
    private_columns,
    refuse_plain_writer,
)
from orbsite.storage.sql.constraints import ID_LENGTH
from orbsite.storage.sql.filters import by_keys
from orbsite.storage.sql.models import LEDGER, RecordRow, column_of, read_cells
from orbsite.storage.sql.raw_columns import raw_rows
from orbsite.storage.sql.row_decoder import reader_of
from orbsite.storage.sql.row_encoder import RowEncoder


class Bulk(ABC, Generic[R]):
    """Bulk operations on one table."""

    def __init__(self, model: type[RecordRow], connection: Any) -> None:
        self.kind: Any = model.kind
        self.model = model
        self.connection = connection
        self.cells = RowEncoder(model, connection)
        quote = connection.ops.quote_name
        self.table: str = quote(model._meta.db_table)
        names = columns(model.kind)
        self.names: list[str] = [quote(field.column) for field in self.cells.fields]
        """The quoted names of the record's columns."""
        self.all_names = [*self.names, *(quote(column_of(model, name).column) for name in LEDGER)]
        self.keys: list[str] = [quote(column_of(model, name).column) for name in model.kind.key_fields]
        self.run = quote(column_of(model, "run_id").column)
        self.user = quote(column_of(model, "user_id").column)
        self.line: CanonicalPrinter | None = line_of(model.kind)
        hints = declared(model.kind)
        names_of_line = self.line.attributes if self.line else ()
        self._id_places = [
            at for at, name in enumerate(names_of_line) if hints[name] == Id and name in self._needed(model)
        ]
        self._line_places = [names.index(name) for name in (self.line.attributes if self.line else ())]

    @staticmethod
    def _needed(model: type[RecordRow]) -> set[str]:
        """Return the names of the columns that are never null."""
        return {name for name in columns(model.kind) if not column_of(model, name).null}

    def make_batch(self, records: Sequence[R], positions: Sequence[int | None], run: int | None = None) -> RecordBatch:
        """Prepare records, and with a run also their rows for an insert. Safe to call from any thread."""
        columns = Columns(self.kind, records)
        is_sealed = self._seals()
        batch = RecordBatch(columns, positions, () if is_sealed else self.made(columns))
        if run is not None:
            batch.sums(range(len(records)))
            batch.rows = None if is_sealed else self.rows(batch, run)
        return batch

    def compare(self, batch: RecordBatch) -> Comparison:
        """Compare records with the stored rows; they are equal only if all columns are equal."""
        if self._seals():
            return self._compare_opened(batch)
        return self.compared(batch.cells) if batch.cells else Comparison(free=(), other=())

    def insert(self, batch: RecordBatch, places: Sequence[int], run: int | None) -> None:
        """Insert the records at these indexes. Raises Conflict if a key is taken, and KeyUnavailable."""
        refuse_plain_writer(self.connection.alias)
        if batch.rows is None and not batch.cells:  # texts are sealed in the transaction that writes them
            batch = replace(batch, cells=self.made(batch.columns))
        rows = self.rows(batch, run) if batch.rows is None else batch.rows
        try:
            self.write(rows if len(places) == len(rows) else [rows[at] for at in places])
        except (IntegrityError, InternalError) as problem:
            if not self.is_taken(problem):
                raise
            raise Conflict("another writer has taken a key meanwhile; read again, then retry") from problem

    def digests(
        self, run: int | None, users: Sequence[str] | None = None
    ) -> Iterator[tuple[Sequence[Any], Sequence[str | None]]]:
        """Yield users and digests of all rows, or of those that a run wrote or some users have, a page at a time.

        The digest is None for an unreadable row.
        """
        names = columns(self.kind)
        user = names.index("user_id")
        for page in self.read(run, users):
            rows = open_rows(self.kind, names, page, self.connection.alias)
            yield [row[user] for row in rows], self._digests(rows)

    def _seals(self) -> bool:
        """Tell whether columns of this table are sealed, in which case equal records have different columns."""
        return bool(private_columns(self.kind)) and is_sealing()

    def _compare_opened(self, batch: RecordBatch) -> Comparison:
        """Compare records with the stored rows, which are opened and decoded for that."""
        names, found = columns(self.kind), dict[Any, Any]()
        rows = self.model._base_manager.using(self.connection.alias)
        key_places = [names.index(name) for name in self.kind.key_fields]
        for condition in by_keys(self.kind, [record.key for record in batch.records]):
            stored = list(raw_rows(rows.filter(condition), names))
            opened = open_rows(self.kind, names, stored, self.connection.alias)
            found.update(zip((tuple(row[at] for at in key_places) for row in stored), self._read(opened), strict=True))
        places = {record.key: at for at, record in enumerate(batch.records)}
        free = [at for key, at in places.items() if key not in found]
        other = [at for key, at in places.items() if key in found and not _is_equal(found[key], batch.records[at])]
        return Comparison(free=sorted(free), other=sorted(other))

    def _read(self, rows: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """Return the records of rows, None for those that do not decode."""
        reader = reader_of(self.model, self.connection.vendor)
        read = None if reader is None else reader.read(rows)
        if read is not None:
            return read
        names = columns(self.kind)
        return [read_cells(self.kind, dict(zip(names, row, strict=True))).record for row in rows]

    def _digests(self, rows: Sequence[tuple[Any, ...]]) -> Sequence[str | None]:
        """Return the digests of rows: all at once, or one by one where the fast path does not apply to all of them."""
        digests = self._fast_digests(rows)
        return digests or [(self._fast_digests([row]) or [self._slow_digest(row)])[0] for row in rows]

    def _slow_digest(self, row: tuple[Any, ...]) -> str | None:
        record = read_cells(self.kind, dict(zip(columns(self.kind), row, strict=True))).record
        return None if record is None else digest(record)

    def _fast_digests(self, rows: Sequence[tuple[Any, ...]]) -> Sequence[str | None] | None:
        """Return the digests of rows that are in the format that a store writes, None if one of them is not."""
        line, cells = self.line, list(zip(*rows, strict=True))
        if line is None or cells[-1].count(None) < len(rows):  # the last column holds unknown keys
            return None
        fields: list[Sequence[Any]] = [cells[at] for at in self._line_places]
        if not all(_TEXTS.issuperset(map(type, texts)) for texts in fields):
            return None
        if not all(None not in fields[at] and min(map(len, fields[at])) > 0 for at in self._id_places):
            return None
        if any(max(map(len, fields[at])) > ID_LENGTH for at in self._id_places):
            return None
        try:
            for at in line.instants:
                fields[at] = _spelled(fields[at])
            for at in line.lists:
                fields[at] = [text and _texts.decode(text) for text in fields[at]]
            return line.digests_of(fields)
        except (msgspec.DecodeError, UnicodeEncodeError, TypeError, ValueError):
            return None

    @abstractmethod
    def made(self, columns: Columns) -> Sequence[Any]:
        """Return the column values of each record."""

    @abstractmethod
    def rows(self, batch: RecordBatch, run: int | None) -> Sequence[Any]:
        """Return the column values of each record with the ledger's columns, for a run."""

    @abstractmethod
    def compared(self, cells: Sequence[Any]) -> Comparison:
        """Compare column values with the rows of the table."""

    @abstractmethod
    def write(self, rows: Sequence[Any]) -> None:
        """Insert rows into the table."""

    @abstractmethod
    def is_taken(self, problem: IntegrityError | InternalError) -> bool:
        """Tell whether an error means that a key is taken."""

    @abstractmethod
    def read(self, run: int | None, users: Sequence[str] | None = None) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Yield pages of the column values of all rows, or of those that a run wrote or some users have.

        Times and lists are texts.
        """

    def where(self, mark: str, run: int | None, users: Sequence[str] | None) -> tuple[str, list[Any]]:
        """Return the WHERE clause of `read` and its values; `mark` is the driver's placeholder."""
        conditions = [] if run is None else [f"{self.run} = {mark}"]
        if users is not None:
            conditions.append(f"{self.user} IN ({', '.join([mark] * len(users))})")
        values = [*([] if run is None else [run]), *(users or ())]
        return f" WHERE {' AND '.join(conditions)}" if conditions else "", values

    @abstractmethod
    def loading(self, size: int) -> contextlib.AbstractContextManager[None]:
        """Prepare the connection for writing about `size` bytes."""


class PageSize:
    """The number of rows to read at a time, so that a page of large rows takes little memory. It begins small."""

    def __init__(self, most: int) -> None:
        self.rows, self._most = min(most, _FIRST_PAGE), most

    def adapt(self, page: Sequence[Sequence[Any]]) -> None:
        """Choose the size of the next page by some rows of this one."""
        some = page[::_SAMPLED]
        taken = sum(len(cell) for row in some for cell in row if isinstance(cell, str | bytes))
        self.rows = max(1, min(self._most, self.rows * _GROWTH, _PAGE_BYTES * len(some) // max(1, taken)))


def _is_equal(stored: Record | None, record: Record) -> bool:
    """Tell whether two records have the same JSON; in Python, 1 equals True and 1.0."""
    if stored != record or stored is None:
        return False
    is_of_texts = holds_texts_alone(type(record)) and record.extra is None
    return is_of_texts or compact(as_json(Put(stored))) == compact(as_json(Put(record)))


_FIRST_PAGE, _GROWTH, _SAMPLED = 100, 4, 8
_PAGE_BYTES = 4 << 20
"""The approximate maximum size of the texts of a page."""
_texts, _moments = msgspec.json.Decoder(list[str]), msgspec.json.Decoder(list[datetime])
_encode = msgspec.json.Encoder().encode
_TEXTS = frozenset({str, type(None)})
_WHOLE, _FINE = len("2024-01-01 00:00:00"), len("2024-01-01 00:00:00.000000")
_BETWEEN = '","'
_NO_FRACTION, _NO_MICROSECONDS = ".000000", f"000{_BETWEEN}"


def _spelled(texts: Sequence[str | None]) -> Sequence[str | None]:
    """Convert a database's UTC times without a zone to the format of the files. Raises ValueError for other formats."""
    if None in texts:
        return [text and _spelled([text])[0] for text in texts]
    times = [text.removesuffix(_NO_FRACTION) for text in texts if text is not None]
    together = _BETWEEN.join([*times, ""])
    printed = f'["{together.replace(" ", "T").removesuffix(_BETWEEN)}"]'.encode()
    is_of_times = {_WHOLE, _FINE}.issuperset(map(len, times)) and "T" not in together
    if not is_of_times or _encode(_moments.decode(printed)) != printed:
        raise ValueError("a time has another format")
    if together.count(_NO_MICROSECONDS) == len(times):
        return together.replace(_NO_MICROSECONDS, f"Z{_BETWEEN}").replace(" ", "T").split(_BETWEEN)[:-1]
    return [
        f"{text[:10]}T{text[11:23]}{text[23:].rstrip('0')}Z" if len(text) == _FINE else f"{text[:10]}T{text[11:]}.000Z"
        for text in times
    ]
