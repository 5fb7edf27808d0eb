"""Digests of records: one at a time, or of many, a field after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from operator import attrgetter
from typing import Any

import msgspec

from orbsite.storage.encoding import timestamps
from orbsite.storage.encoding.json_printer import canonical
from orbsite.storage.records.record import Instant, Record, Text, columns, holds_texts_alone


def digest(record: Record) -> str:
    """Return the SHA-256, in hex, of the record's canonical JSON: equal records have equal digests."""
    line = line_of(type(record))
    if record.extra is None and line is not None:
        return line.digests(Columns(type(record), (record,)))[0]
    printed = record.as_json()
    for name in record.outside_digest:
        printed.pop(name, None)
    return sha256(canonical(printed)).hexdigest()


class Columns:
    """Records of one kind by their fields: what is made of many records is made a field at a time."""

    def __init__(self, kind: type[Record], records: Sequence[Record]) -> None:
        names = columns(kind)
        self.kind, self.records = kind, records
        self._values = dict(zip(names, zip(*map(attrgetter(*names), records), strict=True), strict=False))
        self._spelled: dict[str, list[str | None]] = {}

    def of(self, attribute: str) -> Sequence[Any]:
        """Return the values of a field."""
        return self._values.get(attribute, ())

    def spelled(self, attribute: str) -> list[str | None]:
        """Return a field's instants in ISO 8601 with microseconds where there are any, and `+00:00`."""
        found = self._spelled.get(attribute)
        if found is None:
            found = self._spelled[attribute] = [moment and moment.isoformat() for moment in self.of(attribute)]
        return found

    def digests(self) -> list[str]:
        """Return the digest of each record."""
        line = line_of(self.kind)
        if line is None or any(self.of("extra")):
            return list(map(digest, self.records))
        return line.digests(self)


class CanonicalPrinter:
    """Prints records of one kind that hold texts and instants alone as canonical JSON, many times as fast."""

    def __init__(self, kind: type[Record]) -> None:
        fields = [field for field in msgspec.structs.fields(kind) if field.name != "extra"]
        fields = sorted((one for one in fields if one.encode_name not in kind.outside_digest), key=_encode_name)
        self.attributes: tuple[str, ...] = tuple(field.name for field in fields)
        """The fields that are printed, in their order."""
        self.instants: tuple[int, ...] = tuple(at for at, field in enumerate(fields) if field.type == Instant)
        self.lists: tuple[int, ...] = tuple(at for at, field in enumerate(fields) if field.type == tuple[Text, ...])
        """Which of them are instants, and which are lists of texts."""
        self._shape: Any = msgspec.defstruct(
            kind.__name__, [(field.encode_name, Any, None) for field in fields], omit_defaults=True, gc=False
        )
        self._encode = msgspec.json.Encoder().encode

    def digests(self, columns: Columns) -> list[str]:
        """Return the digest of each record."""
        found = [columns.of(name) for name in self.attributes]
        for at in self.instants:
            found[at] = [text and timestamps.shortened(text) for text in columns.spelled(self.attributes[at])]
        shape, encode = self._shape, self._encode
        return [sha256(encode(shape(*values))).hexdigest() for values in zip(*found, strict=True)]

    def digest_of(self, values: Iterable[Any]) -> str:
        """Return the digest of a record with these values, in the order of `attributes`; instants are spelled.

        Raises ValueError for a text with NUL, which no record holds.
        """
        printed = self._encode(self._shape(*values))
        if _NUL in printed and _has_nul(printed):
            raise ValueError("a text holds NUL")
        return sha256(printed).hexdigest()


_NUL = b"\\u0000"


def _has_nul(printed: bytes) -> bool:
    """Tell whether a NUL is escaped, where a backslash may be escaped before it as well."""
    return _NUL in printed.replace(b"\\\\", b"")


def _encode_name(field: msgspec.structs.FieldInfo) -> str:
    return field.encode_name


@cache
def line_of(kind: type[Record]) -> CanonicalPrinter | None:
    """Return the printer for a kind, or None where its records hold more than texts and instants."""
    return CanonicalPrinter(kind) if holds_texts_alone(kind) else None
