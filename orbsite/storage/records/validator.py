"""The slow path of decoding: validates a value field by field against its declaration, and lists every problem."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, TypeVar, Union

import msgspec

from orbsite.storage.encoding import json_parser, timestamps
from orbsite.storage.findings import Finding, error, step, warning
from orbsite.storage.records.record import Extra, Value

V = TypeVar("V", bound=Value)
_SURROUNDED = 8
"""The largest number of levels of a document around a field."""
_BEGINNINGS = {
    b"{": "an object",
    b"[": "a list",
    b'"': "text",
    b"t": "true or false",
    b"f": "true or false",
    b"n": "null",
}


class _Mark:
    """A marker that is returned instead of a value."""


REFUSED: Final = _Mark()
"""Returned for an invalid value; its findings say why."""
ABSENT: Final = _Mark()
"""Stands for a field that is missing or left out."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A declared field: its attribute, its JSON name, its type, and whether it is required."""

    attribute: str
    name: str
    hint: Any
    required: bool


@cache
def declarations(kind: type[Value]) -> tuple[Declared, ...]:
    """Return the declared fields of a value, in the order of the files."""
    fields = [field for field in msgspec.structs.fields(kind) if field.name != "extra"]
    return tuple(Declared(field.name, field.encode_name, field.type, field.required) for field in fields)


@dataclass(slots=True)
class Walk:
    """Validates a value field by field, and collects findings."""

    findings: list[Finding] = field(default_factory=list)

    def value(self, hint: Any, raw: Any, path: str) -> Any:
        """Return `raw` converted to the type of `hint`, or REFUSED."""
        if isinstance(hint, type) and issubclass(hint, Value):
            return self.members(hint, raw, path)
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is tuple:
            return self.items(arguments[0], raw, path)
        if origin is dict:
            return self.tree(raw, path)
        if origin in (Union, types.UnionType):
            return self.value(choice(arguments, raw), raw, path)
        if origin is Annotated and arguments[0] is datetime:
            return self._instant(raw, path)
        return self._leaf(hint, raw, path)

    def members(self, kind: type[V], raw: Any, path: str) -> Any:
        """Return a JSON object as a value of a kind, or REFUSED."""
        if not isinstance(raw, dict):
            return self.refuse(path, f"expected an object, got {name_of(raw)}")
        known, unknown = {}, dict(raw)
        for one in declarations(kind):
            if (
                one.required or raw.get(one.name) is not None
            ):  # an explicit null of an optional field is kept in `extra`
                item = self.field(kind, one, unknown.pop(one.name, ABSENT), step(path, one.name))
                known.update({} if item is ABSENT else {one.attribute: item})
        extra = Extra((name, item) for name, item in unknown.items() if self.keeps(name, item, path))
        return REFUSED if REFUSED in known.values() else kind(**known, extra=extra or None)

    def field(self, kind: type[Value], declared: Declared, raw: Any, path: str) -> Any:  # noqa: ARG002 -- the sanitizer uses `kind`
        """Return the value of one field, or REFUSED; a missing field is refused."""
        return self.refuse(path, "is missing") if raw is ABSENT else self.value(declared.hint, raw, path)

    def items(self, hint: Any, raw: Any, path: str) -> Any:
        """Return a list as a tuple of items of the type of `hint`, or REFUSED."""
        if not isinstance(raw, list | tuple):
            return self.refuse(path, f"expected a list, got {name_of(raw)}")
        kept = tuple(self.value(hint, item, step(path, index)) for index, item in enumerate(raw))
        return REFUSED if REFUSED in kept else kept

    def tree(self, raw: Any, path: str) -> Any:
        """Return a JSON object unchanged, or REFUSED."""
        if not isinstance(raw, dict):
            return self.refuse(path, f"expected an object, got {name_of(raw)}")
        found = json_parser.problems(raw, path, depth=_SURROUNDED)
        self.findings += found
        return REFUSED if found else raw

    def keeps(self, name: str, item: Any, path: str) -> bool:
        """Tell whether an unknown key and its value can be kept."""
        found = json_parser.problems({name: item}, path)
        self.findings += found
        return not found

    def refuse(self, path: str, message: str) -> Any:
        """Add an error to the findings, and return REFUSED."""
        self.findings.append(error(path, message))
        return REFUSED

    def _instant(self, raw: Any, path: str) -> Any:
        if isinstance(raw, datetime):
            return raw if raw.tzinfo else self.refuse(path, "the time has no zone")
        if not isinstance(raw, str):
            return self.refuse(path, f"expected a time as text, got {name_of(raw)}")
        try:
            moment, notes = timestamps.parse(raw)
        except ValueError as problem:
            return self.refuse(path, str(problem))
        self.findings += [warning(path, f"the time {note}") for note in notes]
        return moment

    def _leaf(self, hint: Any, raw: Any, path: str) -> Any:
        try:
            kept = msgspec.convert(raw, hint)
        except msgspec.ValidationError as problem:
            return self.refuse(path, _plainly(raw, str(problem)))
        except UnicodeEncodeError:  # msgspec raises it for a text with a lone surrogate that has the wrong type
            return self.refuse(path, f"the type does not fit {name_of(raw)}")
        found = json_parser.problems(kept, path)
        self.findings += found
        return REFUSED if found else kept


def choice(hints: tuple[Any, ...], raw: Any) -> Any:
    """Return the type among `hints` that fits the JSON type of `raw`."""
    objects = [hint for hint in hints if _is_object(hint)]
    others = [hint for hint in hints if hint not in objects]
    return objects[0] if objects and (isinstance(raw, dict) or not others) else others[0]


def _is_object(hint: Any) -> bool:
    return typing.get_origin(hint) is dict or (isinstance(hint, type) and issubclass(hint, Value))


def name_of(raw: Any) -> str:
    """Return the name of a JSON value's type for messages; for unparsed JSON, judged by its first byte."""
    if isinstance(raw, msgspec.Raw):
        return _BEGINNINGS.get(bytes(raw)[:1], "a number")
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(raw), "a number" if isinstance(raw, int | float) else type(raw).__name__)


def _plainly(raw: Any, message: str) -> str:
    if message.startswith("Expected `str`, got"):
        return f"expected text, got {name_of(raw)}"
    if message.startswith("Expected `bool`, got"):
        return f"expected true or false, got {name_of(raw)}"
    return message[:1].lower() + message[1:].partition(" - at ")[0].replace("`str` of", "text of")
