"""What a policy takes out of records in memory: planned, told to whoever keeps tombstones, and then removed at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

import msgspec

from orbsite.storage.records.record import Key, Record, keys_of_all
from orbsite.storage.retention.evaluate import decisions, dropped
from orbsite.storage.retention.future_records import Future, future_of
from orbsite.storage.retention.policy import Policy


class Tombstone(msgspec.Struct, frozen=True, gc=False):
    """A record that goes, why, and its place in its list, where it has one."""

    record: Record
    reason: str
    position: int | None = None


@dataclass(slots=True)
class Plan:
    """What goes of one kind."""

    kind: type[Record]
    total: int = 0
    future: Future = field(default_factory=Future)
    tombstones: list[Tombstone] = field(default_factory=list)
    held: list[Key] = field(default_factory=list)
    """What should go and cannot, because another item with its key would count then."""

    refused: int = 0
    """How many items do not decode; they stay."""

    @property
    def number(self) -> int:
        """How many records go."""
        return len(self.tombstones)

    @property
    def keys(self) -> list[Key]:
        """The keys of what goes."""
        return list(keys_of_all(self.kind, (tombstone.record for tombstone in self.tombstones)))


WriteTombstones: TypeAlias = Callable[[Plan], None]
"""Keeps what goes elsewhere, durably; what it raises leaves everything as it was."""


def planned(kind: type[Record], records: Iterable[Record], policy: Policy, now: datetime) -> Plan:
    """Return what goes of these records."""
    found = list(records)
    ahead = future_of(kind, found, policy.ahead(now))
    if policy.has_keep_rules:
        tombstones = [Tombstone(one.record, one.reason) for one in decisions(kind, found, policy, now) if not one.keep]
    else:
        tombstones = [Tombstone(record, reason) for record, reason in dropped(kind, found, policy, now)]
    return Plan(kind, len(found), ahead, tombstones)


@dataclass(slots=True)
class Returned:
    """What became of graves that were to be opened."""

    restored: list[Tombstone] = field(default_factory=list)
    present: list[Tombstone] = field(default_factory=list)
    """What was there again already, word for word."""
    kept: list[tuple[Tombstone, str]] = field(default_factory=list)
    """What stays where it is, and why."""
    lost: list[tuple[type[Record], str]] = field(default_factory=list)
    """What does not decode, by its key as text."""
