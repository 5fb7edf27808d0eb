"""Domains: an app's description of its records and their layout, and the registry of domains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import msgspec
from msgspec import structs

from orbsite.storage.findings import Finding, path_to
from orbsite.storage.records.record import Key, R, Record, field_names
from orbsite.storage.records.versions import UNMARKED, Versions

Tree: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str | int, ...]


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One part of a document: a record, an item that does not decode, or a part that is neither.

    The entries of a document, inserted with `plant` in order, result in the whole document again.
    """

    place: Place
    """Keys and indexes from the root of the document."""
    record: Record | None = None
    value: Any = None
    """The JSON of an entry without a record, as it was read."""
    kind: type[Record] | None = None
    """The kind of the record or of the expected record; None for a part of the document that is not an item."""
    key: Key | None = None
    """The key of an item that does not decode, if known."""
    is_erased: bool = False
    """Whether its data was erased, so that none of it may be kept."""
    copy: bool = False
    """Whether it is an equal copy of an earlier record."""
    position: int | None = None
    """The index in its list."""
    owners: tuple[str, ...] = ()
    """The users who may own an item that names no owner; the first is used as its owner."""
    findings: tuple[Finding, ...] = ()
    size: int = 0
    """The approximate size in bytes of this entry and of the following entries without a size; 0 if not needed."""

    def __repr__(self) -> str:
        return f"<Entry {self.place!r}>"

    @property
    def path(self) -> str:
        """The place as a JSON path."""
        return path_to(self.place)

    def places(self) -> tuple[str, ...]:
        """Return the place as texts, to identify an item without a key."""
        return tuple(map(str, self.place))

    def may_meet(self, where: Mapping[str, str]) -> bool:
        """Tell whether an item that does not decode may have these field values, judged by its place."""
        return all(
            wanted in self.owners if name == "user_id" and self.owners else wanted in self.place
            for name, wanted in where.items()
        )


class Span(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Consecutive entries of one list: records of one kind, each with one owner, without findings and in its place.

    It stands for its entries where they are many: an entry is made only for a record that is looked at by itself.
    """

    place: Place
    """The place of the list."""
    kind: type[Record]
    records: Sequence[Record]
    start: int = 0
    """The position of the first record in the list."""

    def entry(self, at: int) -> Entry:
        """Return the entry of the record at an index of this span."""
        position = self.start + at
        return Entry(place=(*self.place, position), record=self.records[at], kind=self.kind, position=position)

    def entries(self) -> Iterator[Entry]:
        """Yield the entries, in order."""
        return map(self.entry, range(len(self.records)))

    def split(self, at: int) -> tuple[Span, Span]:
        """Return the first `at` entries and the others."""
        rest = structs.replace(self, records=self.records[at:], start=self.start + at)
        return structs.replace(self, records=self.records[:at]), rest


def flattened(parts: Iterable[Entry | Span]) -> Iterator[Entry]:
    """Yield the entries of a document, those of spans one by one."""
    for part in parts:
        if isinstance(part, Span):
            yield from part.entries()
        else:
            yield part


def plant(tree: Tree, place: Place, value: Any) -> None:
    """Insert a value at its place in a tree; in a list, it is appended."""
    container: Any = tree
    for key in place[:-1]:
        container = container[key]
    if isinstance(container, list):
        container.append(value)
    else:
        container[place[-1]] = value


def _prune_above(tree: Tree, place: Place) -> int:
    """Remove the empty containers above a place, and return how many were removed."""
    for depth in range(len(place) - 1, 0, -1):
        container: Any = tree
        for key in place[: depth - 1]:
            container = container.get(key, {}) if isinstance(container, dict) else {}
        if not isinstance(container, dict) or container.get(place[depth - 1]) not in ({}, []):
            return len(place) - 1 - depth
        del container[place[depth - 1]]
    return len(place) - 1


class Layout(ABC):
    """The mapping between a JSON document and records."""

    @abstractmethod
    def decode(self, data: bytes) -> Iterator[Entry]:
        """Yield the entries of a document, in order. Raises DocumentCorrupt if the document does not have this layout.

        `data` must be valid JSON. Findings about the document as a whole are in a last entry without a place.
        """

    def decode_spans(self, data: bytes) -> Iterator[Entry | Span]:
        """Yield the entries of `decode`, of which those of long lists may be spans; none are by default."""
        return self.decode(data)

    def decode_whole(self, data: bytes) -> tuple[Tree, Sequence[Record]] | None:  # noqa: ARG002
        """Decode a whole document at once; return its tree with records in their places, and the records.

        This is a fast path for documents in which every item decodes without findings; None for all others, and by
        default. The caller must check for repeated keys.
        """
        return None

    def new_tree(self, version: int = UNMARKED) -> Tree:  # noqa: ARG002 -- only layouts with versions state one
        """Return the tree of an empty document; in a version that is stated, records that are applied get its members.

        A document is read into a tree of the default version, and what it states is planted into it.
        """
        return {}

    def in_file(self, tree: Tree, record: R) -> R:  # noqa: ARG002 -- most layouts hold the same in every document
        """Return a record as a document holds it: without the fields that its file does not store."""
        if not record.outside_digest:
            return record
        left_out = {name: None for name, json_name in field_names(type(record)) if json_name in record.outside_digest}
        return structs.replace(record, **left_out)

    def admit(self, tree: Tree, record: Record) -> None:  # noqa: B027 -- most layouts have room for every record
        """Raise RecordUnreadable if a part that does not decode is in the place of the record's container."""

    @abstractmethod
    def apply(self, tree: Tree, record: Record, old: Record | None) -> None:
        """Insert a record into a tree; `old` is the record that it replaces. `admit` must have allowed the record."""

    @abstractmethod
    def drop(self, tree: Tree, record: Record) -> None:
        """Remove a record from a tree."""

    def places(self, tree: Tree, records: Iterable[Record]) -> dict[Key, int]:  # noqa: ARG002 -- few layouts have lists
        """Return the positions of records in their lists, by key; records outside lists are absent."""
        return {}

    def drop_many(self, tree: Tree, records: Iterable[Record]) -> None:
        """Remove records from a tree; layouts with lists do this in one pass."""
        for record in records:
            self.drop(tree, record)

    def put_back(self, tree: Tree, records: Sequence[tuple[Record, int | None]]) -> None:
        """Restore records at their positions in their lists; `admit` must have allowed them, and their keys be free."""
        for record, _ in records:
            self.apply(tree, record, None)

    def prune(self, tree: Tree) -> Iterator[tuple[Place, Any, str]]:  # noqa: ARG002 -- most layouts have no empty parts
        """Remove the parts of a tree that hold no records; yield the place, the value and the reason of each.

        Every item of the tree must be a record. No record, and no record's owner, may change.
        """
        return iter(())

    def owner_of(self, entry: Entry) -> str | None:
        """Return the user who owns an entry; None for a part of the document that does not belong to one user."""
        value = entry.value if entry.record is None else entry.record
        if isinstance(value, Record):
            return value.owner or None
        if entry.key is not None and entry.kind is not None and len(entry.key) == len(entry.kind.key_fields):
            named = dict(zip(entry.kind.key_fields, entry.key, strict=True))
            return named.get("user_id")
        return entry.owners[0] if entry.owners else None

    def forget(
        self,
        tree: Tree,
        is_gone: Callable[[str], bool],  # noqa: ARG002 -- most layouts name users only with their records
        places: Sequence[Place],
    ) -> bool:
        """Remove other mentions of erased users from a tree, and containers that removals at `places` left empty.

        Return whether anything was removed.
        """
        return sum(_prune_above(tree, place) for place in places) > 0

    def divided(self, tree: Tree) -> Tree:  # noqa: ARG002 -- a layout may leave its tree in one piece
        """Return the object in a tree, or the tree, that is copied member by member while records change.

        It is empty for a tree that is copied at once.
        """
        return {}

    def member_of(self, record: Record) -> str:
        """Return the one member of the `divided` object that a change of a record changes."""
        return record.owner

    @abstractmethod
    def encode(self, tree: Tree) -> Any:
        """Return the tree as JSON values, each record in the form of the file."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The records of one app: their file, layout, tables and statistics."""

    name: str
    file: PurePosixPath
    """The path of the document under the data directory."""
    layout: Layout
    models: dict[type[Record], Any]
    """The Django model of each kind of record, the main kind first."""
    facets: dict[str, tuple[type[Record], str]] = field(default_factory=dict)
    """Further counts in statistics: a name, and the field whose distinct values are counted."""

    tallies: dict[str, tuple[type[Record], str]] = field(default_factory=dict)
    """Most frequent values in statistics: a name, and the field whose values are listed."""

    others: frozenset[str] = frozenset()
    """Names of files beside the document that other layers own; stores and clean-up never touch them."""

    when_null: dict[str, str] = field(default_factory=dict)
    """The meaning of NULL in the columns of the earlier system's tables."""

    versions: Versions | None = None
    """The schema versions of the document and the rows; None if there is only one."""

    @property
    def kinds(self) -> tuple[type[Record], ...]:
        """The kinds of records, the main one first."""
        return tuple(self.models)


_registered: dict[str, Domain] = {}


def register(domain: Domain) -> Domain:
    """Register a domain for all operations, commands and interfaces. Raises ValueError if its name is taken."""
    if domain.name in _registered:
        raise ValueError(f"a domain named {domain.name!r} is registered already")
    _registered[domain.name] = domain
    return domain


def registered(names: Iterable[str] | None = None) -> list[Domain]:
    """Return the registered domains, sorted by name; all if `names` is None. Raises KeyError for unknown names."""
    return [_registered[name] for name in sorted(_registered if names is None else set(names))]
