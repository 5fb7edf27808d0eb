"""The fast path for reading rows: a whole page is converted to one JSON list, and decoded like a list in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Generic, cast

import msgspec

from orbsite.storage.base.store import PrintedPage
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
        self._hides_fields = bool(kind.outside_digest)
        self._shape = msgspec.defstruct(
            kind.__name__, [(name, Any, None) for _, name in names], omit_defaults=True, gc=False
        )
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
        data = self._encoded(rows)
        return None if data is None else self._reader.read_printed(data)

    def printed(self, rows: Sequence[tuple[Any, ...]], limit: int, max_bytes: int) -> PrintedPage | None:
        """Return the first `limit` rows as JSON; the others only tell that there are more.

        None if a row needs the slow path, or if the records may take more than `max_bytes` of memory.
        """
        if self._hides_fields:
            return None
        shown, beyond = (self._encoded(part) if part else b"[]" for part in (rows[:limit], rows[limit:]))
        if shown is None or beyond is None or _max_memory(shown, max_bytes) + _max_memory(beyond, 0) > max_bytes:
            return None
        records, more = self._reader.read_printed(shown), self._reader.read_printed(beyond)
        if records is None or more is None:
            return None
        return PrintedPage(shown, records[-1].order if more else None)

    def _encoded(self, rows: Sequence[tuple[Any, ...]]) -> bytes | None:
        """Return the JSON of rows as a file has it, or None if a row needs the slow path; it may yet not decode."""
        *cells, extra = zip(*rows, strict=True)
        if any(keys is not None for keys in extra) or not all(_TEXTS.issuperset(map(type, cell)) for cell in cells):
            return None
        try:
            for at, spell in self._spelled:
                cells[at] = tuple(map(spell, cells[at]))
            return _encode(list(map(self._shape, *cells)))
        except (TypeError, ValueError, msgspec.DecodeError):  # a column holds a value that is not valid in a record
            return None


@cache
def reader_of(model: type[RecordRow], vendor: str) -> RowReader[Any] | None:
    """Return the fast reader for a table, or None if its rows have to be decoded one by one."""
    return RowReader(model, vendor) if holds_texts_alone(model.kind) else None


_TEXTS = frozenset({str, type(None)})
_texts = msgspec.json.Decoder(list[str]).decode
_OTHER_FORMAT = "the time has another format"
_WHOLE, _FINE = len("2024-01-01 00:00:00"), len("2024-01-01 00:00:00.000000")


def _list(text: Any) -> Any:
    return None if text is None else _texts(text)


def _of_sqlite(text: Any) -> Any:
    """Convert a time in Django's format, in UTC without a zone, to the format of the files."""
    if text is None:
        return None
    if len(text) not in (_WHOLE, _FINE) or text[10] != " ":
        raise ValueError(_OTHER_FORMAT)
    return f"{text[:10]}T{text[11:23]}{text[23:].rstrip('0') if len(text) == _FINE else '.000'}Z"


def _of_postgresql(text: Any) -> Any:
    """Convert a time as PostgreSQL prints it in UTC, with the digits of a second that are not zero."""
    if text is None:
        return None
    if not text.endswith("+00") or text[10] != " ":
        raise ValueError(_OTHER_FORMAT)
    seconds, _, fraction = text[11:-3].partition(".")
    return f"{text[:10]}T{seconds}.{fraction:0<3}Z"


def _max_memory(printed: bytes, enough: int) -> int:
    """Return a number of bytes of memory, as `memory_size` counts them, that printed records do not exceed.

    A text of n bytes takes at most 77 + 5 n: the object, four bytes a character, and its UTF-8. It has two quotes. A
    time takes less, and the quotes of the names are more than enough for the fields that are absent. The quotes are
    counted only if the number would exceed `enough` otherwise.
    """
    size = len(printed)
    return 44 * size if 44 * size <= enough else 5 * size + 39 * printed.count(b'"')
