"""What a policy takes out of records in memory: planned, told to whoever keeps tombstones, and then removed at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

import msgspec

from orbsite.storage.records.record import Key, Record, keys_of_all
from orbsite.storage.retention.evaluate import dropped, verdicts
from orbsite.storage.retention.future_records import Future, future_of
from orbsite.storage.retention.policy import Policy


class Grave(msgspec.Struct, frozen=True, gc=False):
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
    graves: list[Grave] = field(default_factory=list)
    held: list[Key] = field(default_factory=list)
    """What should go and cannot, because another item with its key would count then."""

    refused: int = 0
    """How many items do not decode; they stay."""

    @property
    def number(self) -> int:
        """How many records go."""
        return len(self.graves)

    @property
    def keys(self) -> list[Key]:
        """The keys of what goes."""
        return list(keys_of_all(self.kind, (grave.record for grave in self.graves)))


Bury: TypeAlias = Callable[[Plan], None]
"""Keeps what goes elsewhere, durably; what it raises leaves everything as it was."""


def planned(kind: type[Record], records: Iterable[Record], policy: Policy, now: datetime) -> Plan:
    """Return what goes of these records."""
    found = list(records)
    ahead = future_of(kind, found, policy.ahead(now))
    if policy.has_keep_rules:
        graves = [Grave(one.record, one.reason) for one in verdicts(kind, found, policy, now) if not one.keep]
    else:
        graves = [Grave(record, reason) for record, reason in dropped(kind, found, policy, now)]
    return Plan(kind, len(found), ahead, graves)


@dataclass(slots=True)
class Returned:
    """What became of graves that were to be opened."""

    restored: list[Grave] = field(default_factory=list)
    present: list[Grave] = field(default_factory=list)
    """What was there again already, word for word."""
    kept: list[tuple[Grave, str]] = field(default_factory=list)
    """What stays where it is, and why."""
    lost: list[tuple[type[Record], str]] = field(default_factory=list)
    """What does not decode, by its key as text."""
