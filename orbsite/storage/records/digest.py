"""Digests of records, computed for one record, or for many records field by field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from hashlib import sha256
from itertools import starmap
from operator import attrgetter, methodcaller
from typing import Any

import msgspec

from orbsite.storage.encoding import timestamps
from orbsite.storage.encoding.json_printer import canonical
from orbsite.storage.records.record import Instant, Record, Text, columns, holds_texts_alone


def digest(record: Record) -> str:
    """Return the SHA-256 of the record's canonical JSON in hex; equal records have equal digests."""
    line = line_of(type(record))
    if record.extra is None and line is not None:
        return line.digests(Columns(type(record), (record,)))[0]
    printed = record.as_json()
    for name in record.outside_digest:
        printed.pop(name, None)
    return sha256(canonical(printed)).hexdigest()


class Columns:
    """Many records of one kind, as one sequence of values for each field, for fast processing in bulk."""

    def __init__(self, kind: type[Record], records: Sequence[Record]) -> None:
        names = columns(kind)
        self.kind, self.records = kind, records
        self._values = dict(zip(names, zip(*map(attrgetter(*names), records), strict=True), strict=False))
        self._spelled: dict[str, list[str | None]] = {}

    def of(self, attribute: str) -> Sequence[Any]:
        """Return the values of a field, in the order of the records."""
        return self._values.get(attribute, ())

    def spelled(self, attribute: str) -> list[str | None]:
        """Return a field's times from `isoformat()`: with `+00:00`, and with microseconds if they are not zero."""
        texts = self._spelled.get(attribute)
        if texts is None:
            texts = self._spelled[attribute] = _spelled(self.of(attribute))
        return texts

    def digests(self) -> list[str]:
        """Return the digest of each record, in order."""
        line = line_of(self.kind)
        if line is None or any(self.of("extra")):
            return list(map(digest, self.records))
        return line.digests(self)


class CanonicalPrinter:
    """A fast canonical JSON printer for records of one kind whose fields are only texts, lists of texts and times."""

    def __init__(self, kind: type[Record]) -> None:
        fields = [field for field in msgspec.structs.fields(kind) if field.name != "extra"]
        fields = sorted((field for field in fields if field.encode_name not in kind.outside_digest), key=_encode_name)
        self.attributes: tuple[str, ...] = tuple(field.name for field in fields)
        """The fields that are printed, in order."""
        self.instants: tuple[int, ...] = tuple(at for at, field in enumerate(fields) if field.type == Instant)
        """The indexes of the times in `attributes`."""
        self.lists: tuple[int, ...] = tuple(at for at, field in enumerate(fields) if field.type == tuple[Text, ...])
        """The indexes of the lists of texts in `attributes`."""
        self._shape: Any = msgspec.defstruct(
            kind.__name__, [(field.encode_name, Any, None) for field in fields], omit_defaults=True, gc=False
        )
        self._encode = msgspec.json.Encoder().encode

    def digests(self, columns: Columns) -> list[str]:
        """Return the digest of each record, in order."""
        fields = [columns.of(name) for name in self.attributes]
        for at in self.instants:
            fields[at] = _shortened(columns.spelled(self.attributes[at]))
        return list(map(_hex, map(sha256, self._printed(fields))))

    def digests_of(self, fields: Sequence[Sequence[Any]]) -> list[str]:
        """Return the digests of records with these values of the `attributes`, in order; times are passed as texts.

        Raises ValueError for a text with NUL, which no record may have.
        """
        printed = list(self._printed(fields))
        if any(_NUL in line and _has_nul(line) for line in printed):
            raise ValueError("a text holds NUL")
        return list(map(_hex, map(sha256, printed)))

    def _printed(self, fields: Sequence[Sequence[Any]]) -> Iterator[bytes]:
        return map(self._encode, starmap(self._shape, zip(*fields, strict=True)))


_hex = methodcaller("hexdigest")
_encode = msgspec.json.Encoder().encode
_OF_MILLISECONDS = "000+00:00"


def _spelled(moments: Sequence[datetime | None]) -> list[str | None]:
    """Return times from `isoformat()`; msgspec prints many of them five times as fast, with a Z."""
    if None in moments or not moments:
        return [None if moment is None else moment.isoformat() for moment in moments]
    return list(_encode(moments).decode()[2:-2].replace("Z", "+00:00").split('","'))


def _shortened(texts: Sequence[str | None]) -> Sequence[str | None]:
    """Return times from `isoformat()` in the format of the files: all at once if they are of whole milliseconds."""
    if texts and None not in texts:
        together = "\n".join(texts)  # type: ignore[arg-type]
        if together.count(_OF_MILLISECONDS) == len(texts):
            return together.replace(_OF_MILLISECONDS, "Z").split("\n")
    return [text and timestamps.shortened(text) for text in texts]


_NUL = b"\\u0000"


def _has_nul(printed: bytes) -> bool:
    """Tell whether JSON contains an escaped NUL, and not an escaped backslash followed by `u0000`."""
    return _NUL in printed.replace(b"\\\\", b"")


def _encode_name(field: msgspec.structs.FieldInfo) -> str:
    return field.encode_name


@cache
def line_of(kind: type[Record]) -> CanonicalPrinter | None:
    """Return the fast printer for a kind, or None if its records have other fields than texts and times."""
    return CanonicalPrinter(kind) if holds_texts_alone(kind) else None
