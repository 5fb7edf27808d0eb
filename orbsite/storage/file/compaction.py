"""Compaction of a document: it removes items that break the rules and parts without data, and keeps every record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.errors import OrbError
from orbsite.storage.file.content import Content
from orbsite.storage.file.tombstones import tombstone
from orbsite.storage.findings import ROOT, errors, path_to
from orbsite.storage.records.domain import Domain, Entry, Place, Tree
from orbsite.storage.records.record import Record


@dataclass(frozen=True, slots=True)
class Dead:
    """One removed part of a document: its place, its JSON, and the reason."""

    place: Place
    reason: str
    original: str
    """Its JSON, if possible exactly as it was read."""
    kind: type[Record] | None = None
    """The kind of record that was expected; None for a part that is not an item."""
    position: int | None = None
    owner: str | None = None
    """The user who owned it, if known."""

    @property
    def path(self) -> str:
        """The place as a JSON path."""
        return path_to(self.place)

    def tombstone(self, domain: Domain) -> dict[str, Any]:
        """Return the line for it in a tombstone file."""
        about = {"reason": self.reason, "path": self.path, "original": self.original}
        about |= {} if self.owner is None else {"owner": self.owner}
        return tombstone(domain, None, position=self.position, **about)


@dataclass(frozen=True, slots=True)
class Compaction:
    """A compacted document: its new content, and the parts that were removed."""

    content: Content
    kept: Counter[type[Record]]
    """The number of records of each kind; compaction does not change it."""
    dead: list[Dead]


def compacted(domain: Domain, data: bytes) -> Compaction:
    """Compact a document in memory; nothing is written.

    Raises DocumentCorrupt if it cannot be read, and OrbError if a valid record would be read differently afterwards.
    """
    content = Content(domain, data)
    dead = [_refused(entry, domain.layout.owner_of(entry)) for entry in content.invalid]
    _remove(content.tree, [part.place for part in dead])
    pruned = domain.layout.prune(content.tree)
    dead += [Dead(place, reason, _text(value)) for place, value, reason in pruned]
    kept = Counter({kind: content.view.count(kind) for kind in domain.kinds})
    if not dead:
        return Compaction(content, kept, dead)
    after = Content(domain, content.encode())
    if any(_records(content, kind) != _records(after, kind) for kind in domain.kinds):
        raise OrbError(
            f"{domain.file} was left unchanged: compaction would change how a valid record is read. "
            "Run validate_orb_files, and repair by hand the items that it lists"
        )
    return Compaction(after, kept, dead)


def _refused(entry: Entry, owner: str | None) -> Dead:
    found = errors(entry.findings)
    reason = "; ".join(f"{one.path}: {one.message}" for one in found) or f"{ROOT}: it does not decode"
    return Dead(entry.place, reason, _text(entry.value), entry.kind, entry.position, owner)


def _text(value: Any) -> str:
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    return stringify(value.as_json() if isinstance(value, Record) else value).decode()


def _remove(tree: Tree, places: Iterable[Place]) -> None:
    """Remove the values at these places, the last list items first, so that the indexes of the others stay valid."""
    for place in sorted(
        places, key=lambda place: [part if isinstance(part, int) else 0 for part in place], reverse=True
    ):
        container: Any = tree
        for key in place[:-1]:
            container = container[key]
        del container[place[-1]]


def _records(content: Content, kind: type[Record]) -> dict[Any, Record]:
    return content.view.fetch(kind, content.view.keys(kind))
