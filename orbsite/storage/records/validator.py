"""The slow path: goes through a value field by field, by the declaration of its record, and lists every problem."""

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
"""So many levels of a document stand around a field, at the most."""
_BEGINNINGS = {
    b"{": "an object",
    b"[": "a list",
    b'"': "text",
    b"t": "true or false",
    b"f": "true or false",
    b"n": "null",
}


class _Mark:
    """A value that is no value."""


REFUSED: Final = _Mark()
ABSENT: Final = _Mark()


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
        if origin is dict:
            return self.tree(raw, path)
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

    def tree(self, raw: Any, path: str) -> Any:
        """Return a JSON object as it is, or REFUSED."""
        if not isinstance(raw, dict):
            return self.refuse(path, f"expected an object, got {name_of(raw)}")
        found = json_parser.problems(raw, path, depth=_SURROUNDED)
        self.findings += found
        return REFUSED if found else raw

    def keeps(self, name: str, item: Any, path: str) -> bool:
        """Tell whether an unknown key can be kept."""
        found = json_parser.problems({name: item}, path)
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
        except UnicodeEncodeError:  # msgspec's way to say that a text with a lone surrogate is of the wrong type
            return self.refuse(path, f"the type does not fit {name_of(raw)}")
        found = json_parser.problems(kept, path)
        self.findings += found
        return REFUSED if found else kept


def choice(hints: tuple[Any, ...], raw: Any) -> Any:
    """Return the alternative that the JSON type of `raw` points at."""
    objects = [hint for hint in hints if _is_object(hint)]
    others = [hint for hint in hints if hint not in objects]
    return objects[0] if objects and (isinstance(raw, dict) or not others) else others[0]


def _is_object(hint: Any) -> bool:
    return typing.get_origin(hint) is dict or (isinstance(hint, type) and issubclass(hint, Value))


def name_of(raw: Any) -> str:
    """Return what a JSON value is, in words; of one that is not parsed yet, by how it begins."""
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
