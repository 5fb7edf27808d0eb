"""Decodes JSON to records. The fast path decodes a whole record strictly; the slow path reports every problem.

Both use the same declaration, the fields of the record. A piece of a document is `msgspec.Raw`, which is not parsed
yet, or, in a document that the fast decoder refuses, a parsed value.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Generic, TypeAlias

import msgspec

from orbsite.storage.encoding import json_parser
from orbsite.storage.errors import InvalidRecord
from orbsite.storage.findings import ROOT, Finding, error, errors, step, warning
from orbsite.storage.records.record import R, Record, Value, field_names, own
from orbsite.storage.records.validator import REFUSED, Walk, declarations

Piece: TypeAlias = Any

# The fast decoder accepts escaped NULs and rounds fine times, which the rules do not allow.
_BACKSLASH, _ESCAPED_NUL = b"\\", b"\\u0000"
_FINE_TIME = re.compile(rb"\.[0-9]{7}")


@dataclass(frozen=True, slots=True)
class Reading(Generic[R]):
    """The result of decoding one item: a record or None, findings, and the number of its JSON keys."""

    record: R | None
    findings: list[Finding]
    keys: int


class Reader(Generic[R]):
    """Decodes records of one kind."""

    def __init__(self, kind: type[R]) -> None:
        self._kind = kind
        self._one = msgspec.json.Decoder(kind)
        self._many = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]

    def read_many(self, piece: Piece) -> list[R] | None:
        """Decode a whole list of records by the fast path, or return None if an item needs the slow path."""
        records: list[R] | None = self._fast(self._many, piece)
        return records

    def read_printed(self, data: bytes) -> list[R] | None:
        """Decode as `read_many` a list that was printed with times to the microsecond."""
        records: list[R] | None = decoded(self._many, data, has_fine_times=False)
        return records

    def read(self, piece: Piece, path: str) -> Reading[R]:
        """Decode one record; if that fails, the result has all errors."""
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


def decoded(decoder: msgspec.json.Decoder[Any], data: bytes, *, has_fine_times: bool = True) -> Any:
    """Decode JSON with a strict decoder, or return None if it needs the slow path.

    Without `has_fine_times`, no time in it is finer than a microsecond; digits in texts may look like one.
    """
    if (_BACKSLASH in data and _ESCAPED_NUL in data) or (has_fine_times and _FINE_TIME.search(data)):
        return None
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def members(piece: Piece) -> dict[str, Piece] | None:
    """Return the members of an object, or None if the piece is not an object."""
    if not isinstance(piece, msgspec.Raw):
        return piece if isinstance(piece, dict) else None
    try:
        return msgspec.json.decode(piece, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return None
    except msgspec.DecodeError:
        return members(json_parser.parse(bytes(piece)))


def items(piece: Piece) -> list[Piece] | None:
    """Return the items of an array, or None if the piece is not an array."""
    if not isinstance(piece, msgspec.Raw):
        return piece if isinstance(piece, list) else None
    try:
        return msgspec.json.decode(piece, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        return None


def parsed(piece: Piece) -> Any:
    """Return the parsed value of a piece. Raises MalformedJSON for a number that is too large or a value too deep."""
    return json_parser.parse(bytes(piece)) if isinstance(piece, msgspec.Raw) else piece


def peek(piece: Piece) -> Any:
    """Return the parsed value of a piece, or the piece itself if it cannot be parsed."""
    try:
        return parsed(piece)
    except json_parser.MalformedJSON:
        return piece


def keys_in(piece: Piece) -> int:
    """Return the number of JSON keys in a piece, 0 if it cannot be parsed."""
    return json_parser.count_keys(peek(piece))


def keys_of(value: Value) -> int:
    """Return how many JSON keys a decoded value had, without unknown keys."""
    count, optional, lists = _key_plan(type(value))
    for name in optional:
        if getattr(value, name) is not None:
            count += 1
    for name in lists:
        count += sum(keys_of(part) for part in getattr(value, name) or () if isinstance(part, Value))
    return count


def keys_of_many(kind: type[Value], values: Sequence[Value]) -> int:
    """Return the sum of `keys_of` for many values of a kind, several times as fast."""
    count, optional, lists = _key_plan(kind)
    if lists:
        return sum(map(keys_of, values))
    absent = sum(list(map(attrgetter(name), values)).count(None) for name in optional)
    return len(values) * (count + len(optional)) - absent


@cache
def _key_plan(kind: type[Value]) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """Return the number of required fields, and the names of the optional fields and of those with lists of values."""
    fields = declarations(kind)
    optional = tuple(field.attribute for field in fields if not field.required)
    lists = tuple(field.attribute for field in fields if _holds_values(field.hint))
    return len(fields) - len(optional), optional, lists


def _holds_values(hint: Any) -> bool:
    return (isinstance(hint, type) and issubclass(hint, Value)) or any(map(_holds_values, typing.get_args(hint)))


def read(kind: type[R], value: Any, path: str = ROOT) -> Reading[R]:
    """Decode a parsed value by the slow path; the result has a record, or all errors with their paths."""
    record, findings = _walked(kind, value, path)
    noted = [] if record is None else remarks(record, path)
    return Reading(record, findings + noted, json_parser.count_keys(value))


def checked(record: R) -> R:
    """Validate a record, and return it as a store keeps it. Raises InvalidRecord with all errors."""
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
    """Encode and decode a record by the fast path, or return None if it needs the slow path."""
    if record.extra is not None:
        return None
    try:
        kept: R | None = decoded(_decoder_of(type(record)), msgspec.json.encode(record))
    except (TypeError, ValueError, OverflowError, RecursionError):  # a value in it is not JSON
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
    """Return a record's remarks as warnings with paths."""
    return [warning(step(path, name), message) for name, message in record.remarks()]
