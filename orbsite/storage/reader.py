"""From JSON to records: the fast path decodes a whole record strictly, the slow path lists every problem.

Both read the same declaration, the fields of the record. A piece of a document is `msgspec.Raw`, bytes not looked at
yet, or, in a document that the fast decoder refuses as a whole, a parsed value.
"""

from __future__ import annotations

import re
import types
import typing
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar, Union

import msgspec

from orbsite.storage import instant, jsontext
from orbsite.storage.errors import InvalidRecord
from orbsite.storage.finding import ROOT, Finding, error, errors, step, warning
from orbsite.storage.record import Extra, R, Record, Value, field_names

Piece: TypeAlias = Any
V = TypeVar("V", bound=Value)

# What the fast decoder lets through and the rules do not: an escaped NUL, and digits that it would round away.
_ESCAPED_NUL = b"\\u0000"
_FINE_TIME = re.compile(rb"\.[0-9]{7}")


class _Mark:
    """A value that is no value."""


REFUSED: Final = _Mark()
ABSENT: Final = _Mark()


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
        except jsontext.Malformed as problem:
            return Reading(None, [error(path, problem.reason)], 0)
        return read(self._kind, value, path)

    def _fast(self, decoder: msgspec.json.Decoder[Any], piece: Piece) -> Any:
        if not isinstance(piece, msgspec.Raw):
            return None
        raw = bytes(piece)
        if _ESCAPED_NUL in raw or _FINE_TIME.search(raw):
            return None
        try:
            return decoder.decode(raw)
        except (msgspec.DecodeError, RecursionError):
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
        return members(jsontext.parse(bytes(piece)))


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
    return jsontext.parse(bytes(piece)) if isinstance(piece, msgspec.Raw) else piece


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
    walk = Walk()
    record = walk.value(kind, value, path)
    keys = jsontext.count_keys(value)
    if record is REFUSED or errors(walk.findings):
        return Reading(None, walk.findings, keys)
    return Reading(record, walk.findings + remarks(record, path), keys)


def checked(record: R) -> R:
    """Return the record as a store keeps it. Raises InvalidRecord with every rule that it breaks."""
    kind = type(record)
    reading = read(kind, record.as_json(spell=lambda moment: moment), ROOT)
    found = errors(reading.findings)
    names = dict(field_names(kind))
    found += [error(step(ROOT, names[name]), "is missing") for name in kind.stored_fields if not getattr(record, name)]
    if record.extra and not kind.takes_unknown_keys:
        found.append(error(ROOT, f"{kind.plural} have no room for unknown keys"))
    if found or reading.record is None:
        raise InvalidRecord(found)
    return reading.record


def remarks(record: Record, path: str) -> list[Finding]:
    """Return a record's remarks about itself, with paths."""
    return [warning(step(path, name), message) for name, message in record.remarks()]


@dataclass(frozen=True, slots=True)
class Declared:
    """A declared field: its attribute, its JSON name, its type, and whether it must be there."""

    attribute: str
    name: str
    hint: Any
    required: bool


@cache
def declarations(kind: type[Value]) -> tuple[Declared, ...]:
    """Return the declared fields of a value, in the order of the files."""
    found = msgspec.structs.fields(kind)
    return tuple(Declared(one.name, one.encode_name, one.type, one.required) for one in found if one.name != "extra")


@dataclass(slots=True)
class Walk:
    """The slow path: goes through a value field by field and collects findings."""

    findings: list[Finding] = field(default_factory=list)

    def value(self, hint: Any, raw: Any, path: str) -> Any:
        """Return `raw` as the type hint demands, or REFUSED."""
        if isinstance(hint, type) and issubclass(hint, Value):
            return self.members(hint, raw, path)
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is tuple:
            return self.items(arguments[0], raw, path)
        if origin in (Union, types.UnionType):
            return self.value(choice(arguments, raw), raw, path)
        if origin is Annotated and arguments[0] is datetime:
            return self._instant(raw, path)
        return self._leaf(hint, raw, path)

    def members(self, kind: type[V], raw: Any, path: str) -> Any:
        """Return an object as a value, or REFUSED."""
        if not isinstance(raw, dict):
            return self.refuse(path, f"expected an object, got {name_of(raw)}")
        known, unknown = {}, dict(raw)
        for one in declarations(kind):
            if (
                one.required or raw.get(one.name) is not None
            ):  # an explicit null where nothing is needed is kept as it is
                item = self.field(kind, one, unknown.pop(one.name, ABSENT), step(path, one.name))
                known.update({} if item is ABSENT else {one.attribute: item})
        extra = Extra((name, item) for name, item in unknown.items() if self.keeps(name, item, path))
        return REFUSED if REFUSED in known.values() else kind(**known, extra=extra or None)

    def field(self, kind: type[Value], declared: Declared, raw: Any, path: str) -> Any:  # noqa: ARG002 -- for menders
        """Return the value of one field, or REFUSED."""
        return self.refuse(path, "is missing") if raw is ABSENT else self.value(declared.hint, raw, path)

    def items(self, hint: Any, raw: Any, path: str) -> Any:
        """Return a list as a tuple of what the hint demands, or REFUSED."""
        if not isinstance(raw, list | tuple):
            return self.refuse(path, f"expected a list, got {name_of(raw)}")
        kept = tuple(self.value(hint, item, step(path, index)) for index, item in enumerate(raw))
        return REFUSED if REFUSED in kept else kept

    def keeps(self, name: str, item: Any, path: str) -> bool:
        """Tell whether an unknown key can be kept."""
        found = jsontext.problems({name: item}, path)
        self.findings += found
        return not found

    def refuse(self, path: str, message: str) -> Any:
        """Note an error and return REFUSED."""
        self.findings.append(error(path, message))
        return REFUSED

    def _instant(self, raw: Any, path: str) -> Any:
        if isinstance(raw, datetime):
            return raw if raw.tzinfo else self.refuse(path, "the time has no zone")
        if not isinstance(raw, str):
            return self.refuse(path, f"expected a time as text, got {name_of(raw)}")
        try:
            moment, notes = instant.parse(raw)
        except ValueError as problem:
            return self.refuse(path, str(problem))
        self.findings += [warning(path, f"the time {note}") for note in notes]
        return moment

    def _leaf(self, hint: Any, raw: Any, path: str) -> Any:
        try:
            kept = msgspec.convert(raw, hint)
        except msgspec.ValidationError as problem:
            return self.refuse(path, _plainly(raw, str(problem)))
        found = jsontext.problems(kept, path)
        self.findings += found
        return REFUSED if found else kept


def choice(hints: tuple[Any, ...], raw: Any) -> Any:
    """Return the alternative that the JSON type of `raw` points at."""
    objects = [hint for hint in hints if isinstance(hint, type) and issubclass(hint, Value)]
    others = [hint for hint in hints if hint not in objects]
    return objects[0] if objects and (isinstance(raw, dict) or not others) else others[0]


def name_of(raw: Any) -> str:
    """Return what a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(raw), "a number" if isinstance(raw, int | float) else type(raw).__name__)


def _plainly(raw: Any, message: str) -> str:
    if message.startswith("Expected `str`, got"):
        return f"expected text, got {name_of(raw)}"
    if message.startswith("Expected `bool`, got"):
        return f"expected true or false, got {name_of(raw)}"
    return message[:1].lower() + message[1:].partition(" - at ")[0].replace("`str` of", "text of")
