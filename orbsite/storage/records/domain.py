"""What an app tells the kernel about its records, and the register of those who told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import msgspec

from orbsite.storage.findings import Finding, path_to
from orbsite.storage.records.record import Key, Record

Tree: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str | int, ...]


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that stands in a document: a record, an item that does not decode, or a part that is neither.

    Planted one after the other at their places, the entries of a document make up the whole of it again.
    """

    place: Place
    """Keys and indexes from the top of the document."""
    record: Record | None = None
    value: Any = None
    """The JSON of a thing that is no record, kept as it was read."""
    kind: type[Record] | None = None
    """What it is, or should be; None for a part of the document that is no item."""
    key: Key | None = None
    """The key of an item that does not decode, where it can be told."""
    is_erased: bool = False
    """Whether it held what was erased, of which nothing is kept."""
    copy: bool = False
    """Whether it only repeats, word for word, a record that came before."""
    position: int | None = None
    """Place within its list."""
    owners: tuple[str, ...] = ()
    """Who may own a record, or an item that does not decode, that names no owner; the first is taken for it."""
    findings: tuple[Finding, ...] = ()
    size: int = 0
    """About how many bytes it has, and those that follow it without a size; 0 where that matters to nobody."""

    def __repr__(self) -> str:
        return f"<Entry {self.place!r}>"

    @property
    def path(self) -> str:
        """The place as a JSON path."""
        return path_to(self.place)

    def places(self) -> tuple[str, ...]:
        """Return the place as texts, where there is no key to name the item by."""
        return tuple(map(str, self.place))

    def may_meet(self, where: Mapping[str, str]) -> bool:
        """Tell whether an item that does not decode may have these values, by where it stands."""
        return all(
            wanted in self.owners if name == "user_id" and self.owners else wanted in self.place
            for name, wanted in where.items()
        )


def plant(tree: Tree, place: Place, thing: Any) -> None:
    """Put a thing at its place in a tree; lists grow by one."""
    container: Any = tree
    for key in place[:-1]:
        container = container[key]
    if isinstance(container, list):
        container.append(thing)
    else:
        container[place[-1]] = thing


def _prune_above(tree: Tree, place: Place) -> int:
    """Take out the parts above a place that hold nothing, and return how many there were."""
    for depth in range(len(place) - 1, 0, -1):
        container: Any = tree
        for key in place[: depth - 1]:
            container = container.get(key, {}) if isinstance(container, dict) else {}
        if not isinstance(container, dict) or container.get(place[depth - 1]) not in ({}, []):
            return len(place) - 1 - depth
        del container[place[depth - 1]]
    return len(place) - 1


class Layout(ABC):
    """How a JSON document becomes records and back."""

    @abstractmethod
    def decode(self, data: bytes) -> Iterator[Entry]:
        """Yield what stands in a document, in its order. Raises DocumentCorrupt where the document has no such shape.

        `data` is JSON, checked. What concerns the document as a whole comes as findings of a last entry without place.
        """

    def load(self, data: bytes) -> tuple[Tree, Sequence[Record]] | None:  # noqa: ARG002
        """Return a document's tree with records in their places, and the records, all at once.

        This is a shortcut for documents in which every item decodes, and nothing needs a closer look; None for any
        other. A key that comes twice is the caller's to see.
        """
        return None

    def admit(self, tree: Tree, record: Record) -> None:  # noqa: B027 -- most layouts have room for every record
        """Raise RecordUnreadable where something that does not decode leaves no place for a record."""

    @abstractmethod
    def put(self, tree: Tree, record: Record, old: Record | None) -> None:
        """Put a record that was admitted into a tree with records in their places; `old` is the one it replaces."""

    @abstractmethod
    def drop(self, tree: Tree, record: Record) -> None:
        """Take a record out of a tree."""

    def places(self, tree: Tree, records: Iterable[Record]) -> dict[Key, int]:  # noqa: ARG002 -- few layouts have lists
        """Return where in their lists records stand, by their keys; none for those that stand in no list."""
        return {}

    def drop_many(self, tree: Tree, records: Iterable[Record]) -> None:
        """Take records out of a tree, in one pass where there are lists to go through."""
        for record in records:
            self.drop(tree, record)

    def put_back(self, tree: Tree, records: Sequence[tuple[Record, int | None]]) -> None:
        """Put records that were admitted, and whose keys are free, back at their places in their lists."""
        for record, _ in records:
            self.put(tree, record, None)

    def prune(self, tree: Tree) -> Iterator[tuple[Place, Any, str]]:  # noqa: ARG002 -- most layouts have no empty parts
        """Take out of a tree, in which every item is a record, what holds none; yield its place, what it was, and why.

        No record may change by it, nor its owner.
        """
        return iter(())

    def owner_of(self, entry: Entry) -> str | None:
        """Return the user whose data an entry holds; None for a part of the document that is no one user's."""
        thing = entry.value if entry.record is None else entry.record
        if isinstance(thing, Record):
            return thing.owner or None
        if entry.key is not None and entry.kind is not None and len(entry.key) == len(entry.kind.key_fields):
            named = dict(zip(entry.kind.key_fields, entry.key, strict=True))
            return named.get("user_id")
        return entry.owners[0] if entry.owners else None

    def forget(
        self,
        tree: Tree,
        is_gone: Callable[[str], bool],  # noqa: ARG002 -- most layouts name users where their records stand alone
        places: Sequence[Place],
    ) -> bool:
        """Take out of a tree what else names users that are gone, and what is empty since things left `places`.

        Return whether there was any.
        """
        return sum(_prune_above(tree, place) for place in places) > 0

    @abstractmethod
    def encode(self, tree: Tree) -> Any:
        """Return the tree as JSON, each record as it stands in the file."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One app's records: where they are kept, and how they are written."""

    name: str
    file: PurePosixPath
    """The document's place under the data directory."""
    layout: Layout
    models: dict[type[Record], Any]
    """Each kind of record, the main one first, and the Django model of its table."""
    facets: dict[str, tuple[type[Record], str]] = field(default_factory=dict)
    """What else statistics count: a name, and the field whose distinct values are counted."""

    tallies: dict[str, tuple[type[Record], str]] = field(default_factory=dict)
    """What statistics tell of the most frequent values of a field: a name, and the field."""

    others: frozenset[str] = frozenset()
    """Names beside the document that belong to other layers, and are never touched."""

    when_null: dict[str, str] = field(default_factory=dict)
    """What an empty column of the earlier system's tables stands for."""

    @property
    def kinds(self) -> tuple[type[Record], ...]:
        """The kinds of record, the main one first."""
        return tuple(self.models)


_registered: dict[str, Domain] = {}


def register(domain: Domain) -> Domain:
    """Make a domain known to every operation, command and surface."""
    if domain.name in _registered:
        raise ValueError(f"a domain named {domain.name!r} is registered already")
    _registered[domain.name] = domain
    return domain


def registered(names: Iterable[str] | None = None) -> list[Domain]:
    """Return the registered domains, by name; all where no names are given. Raises KeyError for unknown names."""
    return [_registered[name] for name in sorted(_registered if names is None else set(names))]
