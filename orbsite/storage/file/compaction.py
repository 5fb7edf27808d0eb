"""What of a document is dead: items that break the rules, and parts that hold nothing; records are never touched."""

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
    """One thing that goes: where it stood, what it was, and why."""

    place: Place
    reason: str
    original: str
    """Its JSON, as far as it can be, as it was read."""
    kind: type[Record] | None = None
    """What it should have been; None for a part that is no item."""
    position: int | None = None
    owner: str | None = None
    """The user whose it was, where that can be told."""

    @property
    def path(self) -> str:
        """The place as a JSON path."""
        return path_to(self.place)

    def tombstone(self, domain: Domain) -> dict[str, Any]:
        """Return its line in a tombstone file."""
        about = {"reason": self.reason, "path": self.path, "original": self.original}
        about |= {} if self.owner is None else {"owner": self.owner}
        return tombstone(domain, None, position=self.position, **about)


@dataclass(frozen=True, slots=True)
class Compaction:
    """What stays of a document, and what goes."""

    content: Content
    kept: Counter[type[Record]]
    """How many records there are of each kind: all that were there before."""
    dead: list[Dead]


def compacted(domain: Domain, data: bytes) -> Compaction:
    """Return what is to become of a document; nothing is written.

    Raises DocumentCorrupt where it cannot be read, and OrbError where something that is valid would not be the same.
    """
    content = Content(domain, data)
    dead = [_refused(entry, domain.layout.owner_of(entry)) for entry in content.invalid]
    _uproot(content.tree, [one.place for one in dead])
    pruned = domain.layout.prune(content.tree)
    dead += [Dead(place, reason, _text(value)) for place, value, reason in pruned]
    kept = Counter({kind: content.view.count(kind) for kind in domain.kinds})
    if not dead:
        return Compaction(content, kept, dead)
    after = Content(domain, content.encode())
    if any(_records(content, kind) != _records(after, kind) for kind in domain.kinds):
        raise OrbError(
            f"{domain.file} was left as it is: without what is dead in it, something that is valid would be read "
            "otherwise. Run validate_orb_files, and mend by hand what it lists"
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


def _uproot(tree: Tree, places: Iterable[Place]) -> None:
    """Take out what stands at these places; of a list, the last ones first, for the others move up."""
    for place in sorted(
        places, key=lambda place: [part if isinstance(part, int) else 0 for part in place], reverse=True
    ):
        container: Any = tree
        for key in place[:-1]:
            container = container[key]
        del container[place[-1]]


def _records(content: Content, kind: type[Record]) -> dict[Any, Record]:
    return content.view.fetch(kind, content.view.keys(kind))
