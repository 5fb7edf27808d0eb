"""The plan of what a policy removes from records in memory: it is passed to the tombstone writer before the removal."""

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
    """A removed record, the reason, and its position in its list, None if it has no position."""

    record: Record
    reason: str
    position: int | None = None


@dataclass(slots=True)
class Plan:
    """The records of one kind that a policy removes."""

    kind: type[Record]
    total: int = 0
    future: Future = field(default_factory=Future)
    tombstones: list[Tombstone] = field(default_factory=list)
    held: list[Key] = field(default_factory=list)
    """The keys of records that are kept only because another item has the same key and would take their place."""

    refused: int = 0
    """The number of items that do not decode; they are kept."""

    @property
    def number(self) -> int:
        """The number of records to remove."""
        return len(self.tombstones)

    @property
    def keys(self) -> list[Key]:
        """The keys of the records to remove."""
        return list(keys_of_all(self.kind, (tombstone.record for tombstone in self.tombstones)))


WriteTombstones: TypeAlias = Callable[[Plan], None]
"""Writes the tombstones of a plan durably, before the removal; if it raises, nothing is removed."""


def planned(kind: type[Record], records: Iterable[Record], policy: Policy, now: datetime) -> Plan:
    """Return the plan of what a policy removes from these records."""
    candidates = list(records)
    ahead = future_of(kind, candidates, policy.ahead(now))
    if policy.has_keep_rules:
        removed = (decision for decision in decisions(kind, candidates, policy, now) if not decision.keep)
        tombstones = [Tombstone(decision.record, decision.reason) for decision in removed]
    else:
        tombstones = [Tombstone(record, reason) for record, reason in dropped(kind, candidates, policy, now)]
    return Plan(kind, len(candidates), ahead, tombstones)


@dataclass(slots=True)
class Returned:
    """The result of restoring records from tombstones."""

    restored: list[Tombstone] = field(default_factory=list)
    present: list[Tombstone] = field(default_factory=list)
    """The tombstones whose equal record is in the store already."""
    kept: list[tuple[Tombstone, str]] = field(default_factory=list)
    """The tombstones that were not restored, with the reasons."""
    lost: list[tuple[type[Record], str]] = field(default_factory=list)
    """The kinds and keys, as text, of tombstones that do not decode."""
