"""The fast path for reading rows: a whole page is converted to one JSON list, and decoded like a list in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Generic, cast

import msgspec

from orbsite.storage.records.decoder import Reader
from orbsite.storage.records.record import Instant, R, Text, declared, field_names, holds_texts_alone
from orbsite.storage.sql.models import RecordRow

_encode = msgspec.json.Encoder().encode


class RowReader(Generic[R]):
    """Decodes pages of rows of one kind of record whose fields are only texts, lists of texts and times."""

    def __init__(self, model: type[RecordRow], vendor: str) -> None:
        kind = cast("type[R]", model.kind)
        types = declared(kind)
        instants = _of_postgresql if vendor == "postgresql" else _of_sqlite
        spellings: dict[Any, Callable[[Any], Any]] = {tuple[Text, ...]: _list, Instant: instants}
        names = field_names(kind)
        self._reader: Reader[R] = Reader(kind)
        self._shape = msgspec.defstruct(kind.__name__, [(name, Any, None) for _, name in names], omit_defaults=True)
        self._spelled = [
            (at, spellings[types[attribute]])
            for at, (attribute, _) in enumerate(names)
            if types[attribute] in spellings
        ]

    def read(self, rows: Sequence[tuple[Any, ...]]) -> list[R] | None:
        """Return the records of rows, whose columns are as `RawColumn` returns them.

        None if a row needs the slow path, because it may not decode, or is not in the format that a store writes.
        """
        if not rows:
            return []
        *cells, extra = zip(*rows, strict=True)
        if any(keys is not None for keys in extra) or not all(_TEXTS.issuperset(map(type, cell)) for cell in cells):
            return None
        try:
            for at, spell in self._spelled:
                cells[at] = tuple(map(spell, cells[at]))
            made = map(self._shape, *cells)
            return self._reader.read_many(msgspec.Raw(_encode(list(made))))
        except (TypeError, ValueError, msgspec.DecodeError):  # a column holds a value that is not valid in a record
            return None


@cache
def reader_of(model: type[RecordRow], vendor: str) -> RowReader[Any] | None:
    """Return the fast reader for a table, or None if its rows have to be decoded one by one."""
    return RowReader(model, vendor) if holds_texts_alone(model.kind) else None


_TEXTS = frozenset({str, type(None)})
_texts = msgspec.json.Decoder(list[str]).decode
_WHOLE, _FINE = len("2024-01-01 00:00:00"), len("2024-01-01 00:00:00.000000")


def _list(text: Any) -> Any:
    return None if text is None else _texts(text)


def _of_sqlite(text: Any) -> Any:
    """Convert a time in Django's format, in UTC without a zone, to ISO 8601 with a Z."""
    if text is None:
        return None
    if len(text) not in (_WHOLE, _FINE) or text[10] != " ":
        raise ValueError("the time has another format")
    return f"{text[:10]}T{text[11:]}Z"


def _of_postgresql(text: Any) -> Any:
    if text is None:
        return None
    if not text.endswith("+00") or text[10] != " ":
        raise ValueError("the time has another format")
    return f"{text[:10]}T{text[11:-3]}Z"
