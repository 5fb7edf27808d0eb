"""Schema versions of documents: how a document states its version, and the casters between neighbouring versions.

A caster is a pure function on parsed JSON. Casters are kept for ever, so that any version can be read and written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from orbsite.storage.errors import NewerVersion, OrbError
from orbsite.storage.findings import ROOT, Finding, error, step
from orbsite.storage.records.decoder import peek
from orbsite.storage.records.record import Record

MARK = "schemaVersion"
"""The member that states a version."""
MARKED = 2
"""The first version that is stated. The version of data without the member follows from its content."""
UNMARKED = 1
"""The newest version without the member: what the earlier system writes."""

Part: TypeAlias = dict[str, Any]
Caster: TypeAlias = Callable[[Part, str], tuple[Part, list[Finding]]]
"""Takes a part of a document without its mark, and its path; returns it one version later or earlier, and findings.

The findings of an upcast are notes; those of a downcast list what the older version cannot hold. Nothing is changed in
place, and unknown members are kept.
"""

_DIGITS = re.compile(rb"[1-9][0-9]*")
_BEYOND = 1 << 62
"""Stands for an integer with more digits than can be parsed."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The casters between a version and the next one."""

    up: Caster
    down: Caster
    reserved: frozenset[str] = frozenset()
    """Members that the next version gives a meaning. A part that uses them otherwise is not upgraded."""


@dataclass(slots=True)
class Cast:
    """A document in another version."""

    tree: Part
    counts: Counter[str] = field(default_factory=Counter)
    """The number of parts that are `unchanged`, `upgraded`, `downgraded`, or `left` in their version."""
    notes: list[Finding] = field(default_factory=list)
    """Decisions of the upcasts, and the reasons why parts were left."""
    lost: list[Finding] = field(default_factory=list)
    """What the older version cannot hold."""


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The versions of a domain's documents and rows, from 0 on."""

    steps: tuple[Step, ...]
    """`steps[n]` is between the versions n and n + 1."""
    unit: str
    """The name of the parts that have a version each, in reports."""
    of_content: Callable[[Part], int]
    """Returns the version of a part that states none: 0 or 1."""
    by_member: bool = False
    """Whether each member of the document that is an object has its own version, instead of the document."""
    records: Mapping[type[Record], Callable[[Any], Any]] = field(default_factory=dict)
    """The upcast of each kind of record whose rows can be of version 0; it returns a current record itself."""

    @property
    def newest(self) -> int:
        """The newest version that this program knows."""
        return len(self.steps)

    def of(self, part: Part) -> int:
        """Return the version of one part: the one that it states, else the one that its content shows."""
        version = stated(part)
        return self.of_content(part) if version is None else version

    def version_of(self, tree: Part) -> int:
        """Return the version of a document: the lowest one of its parts. Raises NewerVersion."""
        return min(self.counts(tree), default=UNMARKED)

    def counts(self, tree: Part) -> Counter[int]:
        """Return the number of parts in each version. Raises NewerVersion."""
        self.refuse_newer(tree)
        return Counter(self.of(part) for _, part in self._parts(tree))

    def of_record(self, record: Record) -> int:
        """Return the version of a record or row, which follows from its content."""
        return 0 if self.upcast(record) is not record else self.newest

    def upcast(self, record: Record) -> Record:
        """Return a record in the newest version, the same object if it is current."""
        cast = self.records.get(type(record))
        upcast: Record = record if cast is None else cast(record)
        return upcast

    def refuse_newer(self, tree: Part) -> None:
        """Raise NewerVersion if a document, or a part of it, states a version above the newest one."""
        refuse_newer(tree, self.newest, ROOT)
        for path, part in self._parts(tree):
            refuse_newer(part, self.newest, path)

    def refuse_unknown(self, version: int) -> None:
        """Raise OrbError if there is no such version."""
        if not 0 <= version <= self.newest:
            raise OrbError(f"there is no schema version {version}; this program knows the versions 0 to {self.newest}")

    def cast(self, tree: Part, to: int) -> Cast:
        """Return a document in another version. Raises NewerVersion, and OrbError if there is no such version."""
        self.refuse_unknown(to)
        self.refuse_newer(tree)
        done = Cast(tree)
        if self.by_member:
            done.tree = {
                name: self._cast(part, step(ROOT, name), to, done) if isinstance(part, dict) else part
                for name, part in tree.items()
            }
        else:
            done.tree = self._cast(tree, ROOT, to, done)
        return done

    def _parts(self, tree: Part) -> Iterator[tuple[str, Part]]:
        if not self.by_member:
            yield ROOT, tree
            return
        yield from ((step(ROOT, name), part) for name, part in tree.items() if isinstance(part, dict))

    def _cast(self, part: Part, path: str, to: int, done: Cast) -> Part:
        start = self.of(part)
        if start == to:
            done.counts["unchanged"] += 1
            return part
        taken = self._taken(part, start, to)
        if taken is not None:
            message = f"schema version {to} gives this member a meaning, and here it has another one; it was left"
            done.counts["left"] += 1
            done.notes.append(error(step(path, taken), f"{message} in version {start}. Rename it, then run this again"))
            return part
        found = self._stepped(_unmarked(part), path, start, to, done)
        found = {MARK: to, **found} if to >= MARKED else found
        done.counts["unchanged" if found == part else "upgraded" if start < to else "downgraded"] += 1
        return found

    def _stepped(self, part: Part, path: str, start: int, to: int, done: Cast) -> Part:
        """Cast a part down, then up: what was saved into a newer version in the oldest form is brought up again."""
        for number in reversed(range(to, start)):
            part, findings = self.steps[number].down(part, path)
            done.lost += findings
        if to < min(start, MARKED):
            start = min(to, self.of_content(part))
        for number in range(start, to):
            part, findings = self.steps[number].up(part, path)
            done.notes += findings
        return part

    def _taken(self, part: Part, start: int, to: int) -> str | None:
        """Return a member that is in the way of an upcast."""
        if start < MARKED <= to and MARK in part and stated(part) is None:
            return MARK
        reserved = (name for number in range(start, to) for name in self.steps[number].reserved)
        return next((name for name in reserved if name in part), None)


def stated(part: Mapping[str, Any]) -> int | None:
    """Return the version that a part of a document states; None if it states none.

    Only an integer that is not negative is a version; as in JavaScript, 2.0 is the integer 2. The member may be
    unparsed JSON.
    """
    value = part.get(MARK)
    if isinstance(value, msgspec.Raw):
        value = peek(value)
        if isinstance(value, msgspec.Raw) and _DIGITS.fullmatch(bytes(value)):
            return _BEYOND
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None


def is_marked(part: Mapping[str, Any]) -> bool:
    """Tell whether a part of a document states a version in which it has the members of version 2."""
    return MARK in part and (stated(part) or 0) >= MARKED


def may_state(data: bytes) -> bool:
    """Tell, from the bytes alone, whether a part of a document may state a version; an escape may spell the member."""
    return MARK.encode() in data or b"\\u" in data


def refuse_newer(part: Mapping[str, Any], known: int, path: str) -> None:
    """Raise NewerVersion if a part states a version above `known`."""
    version = stated(part) if MARK in part else None
    if version is not None and version > known:
        raise NewerVersion(version, known, path)


def unchanged(part: Part, path: str) -> tuple[Part, list[Finding]]:  # noqa: ARG001 -- a caster has two arguments
    """Return a part as it is: the caster between versions that differ in their mark alone."""
    return part, []


def _unmarked(part: Part) -> Part:
    return part if stated(part) is None else {name: value for name, value in part.items() if name != MARK}
