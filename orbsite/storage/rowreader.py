"""Reads rows a page at a time, as the decoder reads a file: one list of JSON, made of what the columns hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC
from functools import cache
from typing import Any, Generic, cast

import msgspec

from orbsite.storage.reader import Reader
from orbsite.storage.record import Instant, R, Text, declared, field_names, holds_texts_alone
from orbsite.storage.rows import Row

_encode = msgspec.json.Encoder().encode


class RowReader(Generic[R]):
    """Reads the rows of one kind of record, which holds texts, lists of texts and instants alone."""

    def __init__(self, model: type[Row], vendor: str) -> None:
        kind = cast("type[R]", model.kind)
        types = declared(kind)
        spellings: dict[Any, Callable[[Any], Any]] = {tuple[Text, ...]: _list}
        if vendor == "sqlite":
            spellings[Instant] = _in_utc
        names = field_names(kind)
        self._reader: Reader[R] = Reader(kind)
        self._shape = msgspec.defstruct(kind.__name__, [(name, Any, None) for _, name in names], omit_defaults=True)
        self._spelled = [
            (at, spellings[types[attribute]])
            for at, (attribute, _) in enumerate(names)
            if types[attribute] in spellings
        ]

    def read(self, rows: Sequence[tuple[Any, ...]]) -> list[R] | None:
        """Return the records of rows, as lists of their columns' values; None where one of them needs a closer look."""
        if not rows:
            return []
        *cells, extra = zip(*rows, strict=True)
        if any(one is not None for one in extra):
            return None
        try:
            for at, spell in self._spelled:
                cells[at] = tuple(map(spell, cells[at]))
            made = map(self._shape, *cells)
            return self._reader.read_many(msgspec.Raw(_encode(list(made))))
        except (TypeError, AttributeError, UnicodeEncodeError):  # a column holds what no record does
            return None


@cache
def reader_of(model: type[Row], vendor: str) -> RowReader[Any] | None:
    """Return the reader for a table, or None where its rows are read one by one."""
    return RowReader(model, vendor) if holds_texts_alone(model.kind) else None


def _list(text: Any) -> Any:
    return None if text is None else msgspec.Raw(text.encode())


def _in_utc(moment: Any) -> Any:
    return None if moment is None else moment.replace(tzinfo=UTC)  # Django writes UTC, without saying so
