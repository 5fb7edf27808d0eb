"""From JSON to records: the fast path decodes a whole record strictly, the slow path lists every problem.

Both read the same declaration, the fields of the record. A piece of a document is `msgspec.Raw`, bytes not looked at
yet, or, in a document that the fast decoder refuses as a whole, a parsed value.
"""

from __future__ import annotations

import re
import typing
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeAlias

import msgspec

from orbsite.storage.encoding import json_parser
from orbsite.storage.errors import InvalidRecord
from orbsite.storage.findings import ROOT, Finding, error, errors, step, warning
from orbsite.storage.records.record import R, Record, Value, field_names, own
from orbsite.storage.records.validator import REFUSED, Walk, declarations

Piece: TypeAlias = Any

# What the fast decoder lets through and the rules do not: an escaped NUL, and digits that it would round away.
_BACKSLASH, _ESCAPED_NUL = b"\\", b"\\u0000"
_FINE_TIME = re.compile(rb"\.[0-9]{7}")


@dataclass(frozen=True, slots=True)
class Reading(Generic[R]):
    """What became of one item: a record or none, findings, and how many keys were seen."""

    record: R | None
    findings: list[Finding]
    keys: int


class Reader(Generic[R]):
    """Reads records of one kind."""

    def __init__(self, kind: type[R]) -> None:
        self._kind = kind
        self._one = msgspec.json.Decoder(kind)
        self._many = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]

    def read_many(self, piece: Piece) -> list[R] | None:
        """Return the records of a whole list, or None where one of them needs a closer look."""
        records: list[R] | None = self._fast(self._many, piece)
        return records

    def read(self, piece: Piece, path: str) -> Reading[R]:
        """Return the record that a piece holds, or every reason why it holds none."""
        record: R | None = self._fast(self._one, piece)
        if record is not None:
            return Reading(record, remarks(record, path), keys_of(record))
        try:
            value = parsed(piece)
        except json_parser.MalformedJSON as problem:
            return Reading(None, [error(path, problem.reason)], 0)
        return read(self._kind, value, path)

    def _fast(self, decoder: msgspec.json.Decoder[Any], piece: Piece) -> Any:
        return decoded(decoder, bytes(piece)) if isinstance(piece, msgspec.Raw) else None


def decoded(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    """Return what a strict decoder of records makes of JSON, or None where something in it needs a closer look."""
    if (_BACKSLASH in data and _ESCAPED_NUL in data) or _FINE_TIME.search(data):
        return None
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def members(piece: Piece) -> dict[str, Piece] | None:
    """Return the members of an object, or None where the piece is no object."""
    if not isinstance(piece, msgspec.Raw):
        return piece if isinstance(piece, dict) else None
    try:
        return msgspec.json.decode(piece, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return None
    except msgspec.DecodeError:
        return members(json_parser.parse(bytes(piece)))


def items(piece: Piece) -> list[Piece] | None:
    """Return the items of an array, or None where the piece is no array."""
    if not isinstance(piece, msgspec.Raw):
        return piece if isinstance(piece, list) else None
    try:
        return msgspec.json.decode(piece, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        return None


def parsed(piece: Piece) -> Any:
    """Return the value of a piece; raises jsontext.Malformed for numbers and depths beyond all bounds."""
    return json_parser.parse(bytes(piece)) if isinstance(piece, msgspec.Raw) else piece


def peek(piece: Piece) -> Any:
    """Return the value of a piece, or the piece itself where a number or a depth in it is beyond all bounds."""
    try:
        return parsed(piece)
    except json_parser.MalformedJSON:
        return piece


def keys_in(piece: Piece) -> int:
    """Return how many JSON keys a piece has, as far as it can be parsed."""
    return json_parser.count_keys(peek(piece))


def keys_of(value: Value) -> int:
    """Return how many JSON keys a decoded value had, unknown ones aside."""
    count, optional, lists = _key_plan(type(value))
    for name in optional:
        if getattr(value, name) is not None:
            count += 1
    for name in lists:
        count += sum(keys_of(part) for part in getattr(value, name) or () if isinstance(part, Value))
    return count


@cache
def _key_plan(kind: type[Value]) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Return how many fields are always there, which may be absent, and which hold lists of values."""
    found = declarations(kind)
    optional = tuple(one.attribute for one in found if not one.required)
    lists = tuple(one.attribute for one in found if _holds_values(one.hint))
    return len(found) - len(optional), optional, lists


def _holds_values(hint: Any) -> bool:
    return (isinstance(hint, type) and issubclass(hint, Value)) or any(map(_holds_values, typing.get_args(hint)))


def read(kind: type[R], value: Any, path: str = ROOT) -> Reading[R]:
    """Return the record that a parsed value holds, or every problem with its path."""
    record, findings = _walked(kind, value, path)
    noted = [] if record is None else remarks(record, path)
    return Reading(record, findings + noted, json_parser.count_keys(value))


def checked(record: R) -> R:
    """Return the record as a store keeps it. Raises InvalidRecord with every rule that it breaks."""
    kind = type(record)
    kept = _as_is(record)
    findings: list[Finding] = []
    if kept is None:
        kept, findings = _walked(kind, record.as_json(spell=lambda moment: moment), ROOT)
    found = errors(findings)
    names = dict(field_names(kind))
    found += [error(step(ROOT, names[name]), "is missing") for name in kind.stored_fields if not getattr(record, name)]
    if record.extra and not kind.takes_unknown_keys:
        found.append(error(ROOT, f"{kind.plural} have no room for unknown keys"))
    if found or kept is None:
        raise InvalidRecord(found)
    return own(kept)


def _as_is(record: R) -> R | None:
    """Return a record as a strict decoder makes it of what it is in JSON, or None where it needs a closer look."""
    if record.extra is not None:
        return None
    try:
        kept: R | None = decoded(_decoder_of(type(record)), msgspec.json.encode(record))
    except (TypeError, ValueError, OverflowError, RecursionError):  # it holds what is no JSON
        return None
    return kept if kept == record else None


@cache
def _decoder_of(kind: type[Record]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _walked(kind: type[R], value: Any, path: str) -> tuple[R | None, list[Finding]]:
    walk = Walk()
    record = walk.value(kind, value, path)
    return None if record is REFUSED or errors(walk.findings) else record, walk.findings


def remarks(record: Record, path: str) -> list[Finding]:
    """Return a record's remarks about itself, with paths."""
    return [warning(step(path, name), message) for name, message in record.remarks()]
