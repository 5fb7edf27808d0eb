"""Encodes many records at a time to the column values of their rows, in the format of each database."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from orbsite.storage.records.digest import Columns
from orbsite.storage.records.record import Id, Instant, Text, columns, declared, plain
from orbsite.storage.records.sealed_columns import seal_columns
from orbsite.storage.sql.models import RecordRow, column_of

_encode = msgspec.json.Encoder().encode


class RowEncoder:
    """Encodes records of one kind for one database."""

    def __init__(self, model: type[RecordRow], connection: Any) -> None:
        self._kind, self._using = model.kind, connection.alias
        self.fields: tuple[Any, ...] = tuple(column_of(model, name) for name in columns(model.kind))
        """The model fields of a record's columns, in the order of the encoded values."""
        self.types: tuple[Any, ...] = tuple(declared(model.kind)[field.attname] for field in self.fields)
        """The declared type of each column in the record."""
        self._encoders = [
            (field.attname, _encoder(field, declared_type, connection))
            for field, declared_type in zip(self.fields, self.types, strict=True)
        ]

    def of(self, columns: Columns) -> list[tuple[Any, ...]]:
        """Return the column values of each record.

        Where columns are sealed, in the caller's transaction; otherwise safe to call from any thread.
        """
        return list(zip(*self.by_column(columns), strict=True))

    def by_column(self, columns: Columns) -> list[Sequence[Any]]:
        """Return the values of each column, in the order of the records."""
        cells = [encode(columns, name) for name, encode in self._encoders]
        return seal_columns(self._kind, [name for name, _ in self._encoders], cells, columns.records, self._using)


def _encoder(field: Any, declared: Any, connection: Any) -> Callable[[Columns, str], Sequence[Any]]:
    """Return the function that encodes a column's values to texts or None."""
    if declared in (Text, Id):
        return Columns.of
    if declared == Instant:
        return Columns.spelled if connection.vendor == "postgresql" else _instants_in_sqlite
    if declared == tuple[Text, ...]:
        return _lists

    def encoded(columns: Columns, name: str) -> Sequence[Any]:
        return [value if value is None else _json(field, value) for value in columns.of(name)]

    return encoded


def _json(field: Any, value: Any) -> str:
    """Return a value in Django's format for a JSON column."""
    return json.dumps(dict(value) if isinstance(value, dict) else plain(value), cls=field.encoder)


def _instants_in_sqlite(columns: Columns, name: str) -> Sequence[Any]:
    # Django's format: in UTC, without a zone.
    texts = columns.spelled(name)
    if not texts or None in texts:
        return [text and f"{text[:10]} {text[11:-6]}" for text in texts]
    return "\n".join(map(str, texts)).replace("+00:00", "").replace("T", " ").split("\n")


def _lists(columns: Columns, name: str) -> Sequence[Any]:
    return [None if texts is None else _encode(texts).decode() for texts in columns.of(name)]
