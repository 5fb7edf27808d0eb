"""Records as the cells of their rows, many at a time, spelled as each database takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from orbsite.storage.digests import Columns
from orbsite.storage.record import Id, Instant, Text, plain
from orbsite.storage.rows import Row, column_of, columns

_encode = msgspec.json.Encoder().encode


class Cells:
    """Makes cells of records of one kind for one database."""

    def __init__(self, model: type[Row], connection: Any) -> None:
        self.fields: tuple[Any, ...] = tuple(column_of(model, name) for name in columns(model.kind))
        """The columns that hold a record, in the order of its cells."""
        declared = {field.name: field.type for field in msgspec.structs.fields(model.kind)}
        self.types: tuple[Any, ...] = tuple(declared[field.attname] for field in self.fields)
        """What the record declares each of them to be."""
        self._spellings = [
            (field.attname, _spelling(field, one, connection))
            for field, one in zip(self.fields, self.types, strict=True)
        ]

    def of(self, columns: Columns) -> list[tuple[Any, ...]]:
        """Return the cells of each record; any thread may ask."""
        return list(zip(*(spell(columns, name) for name, spell in self._spellings), strict=True))


def _spelling(field: Any, declared: Any, connection: Any) -> Callable[[Columns, str], Sequence[Any]]:
    """Return what makes a column's cells."""
    is_sqlite = connection.vendor == "sqlite"
    if declared in (Text, Id) or (declared == Instant and not is_sqlite):
        return Columns.of
    if declared == Instant:
        return _instants_in_sqlite
    if declared == tuple[Text, ...]:
        return _texts_in_sqlite if is_sqlite else _texts_in_postgresql

    def spelled(columns: Columns, name: str) -> Sequence[Any]:
        return [value if value is None else _as_django(field, value, connection) for value in columns.of(name)]

    return spelled


def _as_django(field: Any, value: Any, connection: Any) -> Any:
    return field.get_db_prep_save(dict(value) if isinstance(value, dict) else plain(value), connection)


def _instants_in_sqlite(columns: Columns, name: str) -> Sequence[Any]:
    # As Django writes them: in UTC, without saying so.
    return [text and f"{text[:10]} {text[11:-6]}" for text in columns.spelled(name)]


def _texts_in_sqlite(columns: Columns, name: str) -> Sequence[Any]:
    return [None if texts is None else _encode(texts).decode() for texts in columns.of(name)]


def _texts_in_postgresql(columns: Columns, name: str) -> Sequence[Any]:
    return [None if texts is None else Jsonb(texts, _encode) for texts in columns.of(name)]
