"""The base classes of records: frozen values with declared fields, a key, an order and a JSON form."""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from orbsite.storage.encoding import timestamps

if TYPE_CHECKING:
    _T = TypeVar("_T")
    Maybe: TypeAlias = _T | None
else:

    class Maybe:
        """`Maybe[X]` is an optional field that is never null in JSON: an explicit null is kept in `extra`."""

        def __class_getitem__(cls, item: Any) -> Any:
            return item


class Extra(dict[str, Any]):
    """Unknown keys of a record, kept for other programs. It is a type of its own, so that no JSON decodes as Extra."""


class AnyJSON:
    """Any JSON value. No JSON decodes as AnyJSON, so that the strict decoder leaves the value to the slow path."""


Text: TypeAlias = str
Id: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Instant: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
JSONObject: TypeAlias = dict[str, AnyJSON]
"""A JSON object that is kept unchanged; it may be nested as deep as a file."""
Key: TypeAlias = tuple[str, ...]
R = TypeVar("R", bound="Record")

_AS_THEY_ARE = (datetime, date, time, timedelta, bytes, bytearray, UUID, Decimal)
"""Types that msgspec would convert to texts without an error."""


class Value(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
    gc=False,
):
    """An immutable value with declared fields and the unknown keys that it was read with."""

    when_missing: ClassVar[dict[str, Any]] = {}
    """The values that the sanitizer uses for fields that are missing or cannot be converted."""

    extra: Maybe[Extra] = None

    def __repr__(self) -> str:
        """Return the type's name without any content, because tracebacks and logs show it."""
        return f"<{type(self).__name__}>"

    def as_json(self, spell: Callable[[datetime], Any] = timestamps.spell) -> dict[str, Any]:
        """Return the JSON form: names as in the guide's files, without absent fields, unknown keys last."""
        if self.extra is None and holds_texts_alone(type(self)):
            return self._texts_as_json(spell)
        printed = {}
        for attribute, name in field_names(type(self)):
            item = getattr(self, attribute)
            if item is not None:
                printed[name] = item if type(item) is str else plain(item, spell)
        for name, item in (self.extra or {}).items():
            printed.setdefault(name, item)
        return printed

    def _texts_as_json(self, spell: Callable[[datetime], Any]) -> dict[str, Any]:
        """Return the JSON form ten times as fast, for a value whose fields are only texts and times."""
        printed: dict[str, Any] = msgspec.to_builtins(self, builtin_types=_AS_THEY_ARE)
        for attribute, name in _to_spell(type(self)):
            item = getattr(self, attribute)
            if item is not None:
                printed[name] = plain(item, spell)
        return printed


class Record(Value, frozen=True):
    """A value that a store keeps. The class variables describe the kind to the stores."""

    plural: ClassVar[str]
    """The name of these records in reports and commands."""
    key_fields: ClassVar[tuple[str, ...]]
    """The fields that together identify a record."""
    order_fields: ClassVar[tuple[str, ...]]
    """The fields that order records; unique together, so that pages neither skip nor repeat records."""
    stored_fields: ClassVar[tuple[str, ...]] = ()
    """Optional fields that must be set in every stored record."""
    time_field: ClassVar[str | None] = None
    """The time that `since` and `until` compare."""
    group_field: ClassVar[str | None] = None
    """The field whose groups retention counts, such as the session; None if retention does not apply to this kind."""
    version_field: ClassVar[str | None] = None
    """The time that shows which of two versions is newer, if the records have one."""
    tag_field: ClassVar[str | None] = None
    text_fields: ClassVar[tuple[str, ...]] = ()
    private_fields: ClassVar[tuple[str, ...]] = ()
    """The fields that are sealed in SQL where keys are configured; the unknown keys are sealed with them."""
    outside_digest: ClassVar[frozenset[str]] = frozenset()
    """JSON names of fields that files do not store, and that comparisons of versions therefore ignore."""
    takes_unknown_keys: ClassVar[bool] = True
    """Whether the record is an object in its file, which can hold keys that this version does not know."""

    user_id: Maybe[Id] = None

    def __post_init__(self) -> None:
        for attribute in _instants(type(self)):
            moment = getattr(self, attribute)
            if moment is not None and moment.tzinfo not in (UTC, None):
                msgspec.structs.force_setattr(self, attribute, _in_utc(moment))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key!r}>"

    @property
    def key(self) -> Key:
        """The values of `key_fields`."""
        return key_getter(type(self))(self)

    @property
    def owner(self) -> str:
        """The id of the user who owns the record; empty until it is saved."""
        return self.user_id or ""

    @property
    def order(self) -> tuple[Any, ...]:
        """The values of `order_fields`, which a cursor holds."""
        return tuple([getattr(self, name) for name in self.order_fields])

    def moves_from(self, old: Record) -> bool:
        """Tell whether the record belongs to another list than its version `old`, such as another session."""
        return any(getattr(self, name) != getattr(old, name) for name in self.stored_fields)

    def remarks(self) -> list[tuple[str, str]]:
        """Return remarks about unusual but valid values, as pairs of a field's JSON name and a message."""
        return []


def keys_of_all(kind: type[Record], records: Iterable[Record]) -> Iterator[Key]:
    """Yield the keys of many records of a kind, several times as fast as `Record.key`."""
    names: Iterator[Any] = map(attrgetter(*kind.key_fields), records)
    return names if len(kind.key_fields) > 1 else zip(names, strict=False)


@cache
def key_getter(kind: type[Record]) -> Callable[[Record], Key]:
    """Return a function that returns the key of a record of this kind."""
    get: Any = attrgetter(*kind.key_fields)
    return get if len(kind.key_fields) > 1 else lambda record: (get(record),)


def own(record: R) -> R:
    """Return a record that shares no mutable value with others; it is copied only if it holds mutable values."""
    return copy.deepcopy(record) if _holds_objects(record) else record


def _holds_objects(value: Value) -> bool:
    compound = _compound(type(value))
    if value.extra is not None or not compound:
        return value.extra is not None
    inner = [getattr(value, name) for name in compound]
    if any(isinstance(item, dict) for item in inner):
        return True
    lists = (item if isinstance(item, list | tuple) else (item,) for item in inner)
    return any(_holds_objects(part) for parts in lists for part in parts if isinstance(part, Value))


@cache
def _compound(kind: type[Value]) -> tuple[str, ...]:
    """Return the fields that may hold nested values."""
    simple = (Text, Id, Instant, tuple[Text, ...])
    return tuple(name for name, _ in field_names(kind) if declared(kind)[name] not in simple)


@cache
def declared(kind: type[Value]) -> dict[str, Any]:
    """Return the declared type of each field of a value, by attribute."""
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


@cache
def columns(kind: type[Record]) -> tuple[str, ...]:
    """Return the fields of a record in the order of the files, and then `extra`."""
    return (*(attribute for attribute, _ in field_names(kind)), "extra")


def tags_of(record: Record) -> tuple[str, ...]:
    """Return a record's tags; none if the field holds a JSON object."""
    tags = getattr(record, record.tag_field or "", ())
    return tags if isinstance(tags, tuple) else ()


def texts_in(value: Any) -> Iterator[str]:
    """Yield the texts in a field's value: a text itself, the texts of a list, or the keys and texts of an object."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def list_form(hint: Any) -> Any:
    """Return the list type among the alternatives of a field's type, or None if there is none."""
    forms = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return next((form for form in forms if typing.get_origin(form) is tuple), None)


def is_ordered_by_time(kind: type[Record]) -> bool:
    """Tell whether records of a kind are ordered by their time."""
    return kind.time_field is not None and kind.order_fields[0] == kind.time_field


@cache
def field_names(kind: type[Value]) -> tuple[tuple[str, str], ...]:
    """Return the declared fields of a value as pairs of attribute and JSON name, in the order of the files."""
    fields = [field for field in msgspec.structs.fields(kind) if field.name != "extra"]
    return tuple((field.name, field.encode_name) for field in fields)


def plain(item: Any, spell: Callable[[datetime], Any] = lambda moment: moment) -> Any:
    """Return a field's value as JSON; `spell` converts times, which are kept as datetimes by default."""
    if isinstance(item, datetime):
        return spell(item)
    if isinstance(item, Value):
        return item.as_json(spell)
    if isinstance(item, tuple | list):
        return [part if type(part) is str else plain(part, spell) for part in item]
    return item


@cache
def _instants(kind: type[Value]) -> tuple[str, ...]:
    return tuple(name for name, hint in declared(kind).items() if hint == Instant)


@cache
def _to_spell(kind: type[Value]) -> tuple[tuple[str, str], ...]:
    """Return the fields that are not single texts, as pairs of attribute and JSON name."""
    return tuple(pair for pair in field_names(kind) if declared(kind)[pair[0]] not in (Text, Id))


def holds_texts_alone(kind: type[Value]) -> bool:
    """Tell whether all fields of this kind are texts, lists of texts or times."""
    return not _compound(kind)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as problem:
        raise ValueError("is no time between the years 1 and 9999 in UTC") from problem
