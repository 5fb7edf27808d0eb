"""Records as the cells of their rows, many at a time, spelled as each database takes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from orbsite.storage.records.digest import Columns
from orbsite.storage.records.record import Id, Instant, Text, columns, declared, plain
from orbsite.storage.sql.models import RecordRow, column_of

_encode = msgspec.json.Encoder().encode


class RowEncoder:
    """Makes cells of records of one kind for one database."""

    def __init__(self, model: type[RecordRow], connection: Any) -> None:
        self.fields: tuple[Any, ...] = tuple(column_of(model, name) for name in columns(model.kind))
        """The columns that hold a record, in the order of its cells."""
        self.types: tuple[Any, ...] = tuple(declared(model.kind)[field.attname] for field in self.fields)
        """What the record declares each of them to be."""
        self._spellings = [
            (field.attname, _spelling(field, one, connection))
            for field, one in zip(self.fields, self.types, strict=True)
        ]

    def of(self, columns: Columns) -> list[tuple[Any, ...]]:
        """Return the cells of each record; any thread may ask."""
        return list(zip(*self.by_column(columns), strict=True))

    def by_column(self, columns: Columns) -> list[Sequence[Any]]:
        """Return the cells of each column."""
        return [spell(columns, name) for name, spell in self._spellings]


def _spelling(field: Any, declared: Any, connection: Any) -> Callable[[Columns, str], Sequence[Any]]:
    """Return what makes a column's cells: texts, or None."""
    if declared in (Text, Id):
        return Columns.of
    if declared == Instant:
        return Columns.spelled if connection.vendor == "postgresql" else _instants_in_sqlite
    if declared == tuple[Text, ...]:
        return _lists

    def spelled(columns: Columns, name: str) -> Sequence[Any]:
        return [value if value is None else _json(field, value) for value in columns.of(name)]

    return spelled


def _json(field: Any, value: Any) -> str:
    """Return a value as Django prints it for a JSON column."""
    return json.dumps(dict(value) if isinstance(value, dict) else plain(value), cls=field.encoder)


def _instants_in_sqlite(columns: Columns, name: str) -> Sequence[Any]:
    # As Django writes them: in UTC, without saying so.
    return [text and f"{text[:10]} {text[11:-6]}" for text in columns.spelled(name)]


def _lists(columns: Columns, name: str) -> Sequence[Any]:
    return [None if texts is None else _encode(texts).decode() for texts in columns.of(name)]
