"""Retention for stores with their records in memory: one pass removes records, and one pass restores them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from orbsite.storage.base.erasures import ErasureList
from orbsite.storage.errors import OrbError
from orbsite.storage.file.content import Content
from orbsite.storage.file.store import FileStore
from orbsite.storage.file.tombstones import Tombstones, record_of
from orbsite.storage.filesystem.directory import numbered
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.record import Record
from orbsite.storage.retention.plan import Plan, Returned, Tombstone, WriteTombstones
from orbsite.storage.retention.policy import Policy


def planned(store: MemoryStore | FileStore, kind: type[Record], policy: Policy, now: datetime) -> Plan:
    """Return the plan of what a policy removes."""
    if isinstance(store, MemoryStore):
        return store.planned(kind, policy, now)
    return store.examine(lambda content: _planned(content, kind, policy, now))


def sweep(
    store: MemoryStore | FileStore, kind: type[Record], policy: Policy, now: datetime, write_tombstones: WriteTombstones
) -> Plan:
    """Remove the records that a policy selects, in one pass and one new document.

    `write_tombstones` is called with the plan before anything is removed; if it raises, nothing is removed.
    """
    if isinstance(store, MemoryStore):
        return store.sweep(kind, policy, now, write_tombstones)
    return store.rewrite(lambda content: _swept(content, kind, policy, now, write_tombstones))


def put_back(
    store: MemoryStore | FileStore, tombstones: Iterable[Tombstone], erasures: Callable[[], ErasureList] = ErasureList
) -> Returned:
    """Restore removed records at their positions, if their keys are free and their users were not erased since.

    The erasure list is read while the store is locked, so that a later erasure finds the restored records.
    """
    wanted = list(tombstones)
    if isinstance(store, MemoryStore):
        return store.put_back(wanted, erasures)
    return store.rewrite(lambda content: _returned(content, wanted, erasures()))


def keep_tombstones(store: MemoryStore | FileStore, name: str, plan: Plan, lines: Iterable[dict[str, Any]]) -> str:
    """Keep the tombstones of a plan, in memory or as lines of a file, and return the name that was free for them."""
    if isinstance(store, FileStore):
        return Tombstones(store.base, store.packing).write(name, lines).stem
    free = next(one for one in numbered(name) if one not in store.recorded_rows)
    store.recorded_rows[free] = list(plan.tombstones)
    return free


def tombstones_of(store: MemoryStore | FileStore, name: str) -> Iterator[Tombstone | str]:
    """Yield the tombstones that a store keeps under a name; where a tombstone holds no record, yield its path.

    Raises OrbError where there is nothing under the name.
    """
    if isinstance(store, MemoryStore):
        if name not in store.recorded_rows:
            known = ", ".join(store.recorded_rows) or "none"
            raise OrbError(f"nothing was removed under the name {name!r}; known are: {known}")
        yield from store.recorded_rows[name]
        return
    for line in Tombstones(store.base, store.packing).read(name):
        if line["domain"] == store.domain.name:
            record = record_of(store.domain, line)
            yield line["path"] if record is None else Tombstone(record, line["reason"], line["position"])


def _planned(content: Content, kind: type[Record], policy: Policy, now: datetime) -> Plan:
    """Return the plan of what a policy removes.

    A record is kept if another item has its key, because that item would take its place.
    """
    plan = content.view.planned(kind, policy, now)
    plan.refused = content.refused
    keys = plan.keys
    held = content.covering(kind, keys)
    places = content.places(tombstone.record for tombstone in plan.tombstones)
    plan.held = [key for key in keys if key in held]
    plan.tombstones = [
        Tombstone(one.record, one.reason, places.get(key))
        for one, key in zip(plan.tombstones, keys, strict=True)
        if key not in held
    ]
    return plan


def _swept(
    content: Content, kind: type[Record], policy: Policy, now: datetime, write_tombstones: WriteTombstones
) -> Plan:
    """Remove the records that a policy selects, after `write_tombstones` has kept them."""
    plan = _planned(content, kind, policy, now)
    write_tombstones(plan)
    content.drop_many(kind, [tombstone.record for tombstone in plan.tombstones])
    return plan


def _returned(content: Content, tombstones: Iterable[Tombstone], erasures: ErasureList) -> Returned:
    """Restore removed records at their positions, if their keys are still free."""
    returned = content.view.returning(tombstones, erasures)
    restored, known = [], dict[tuple[Any, ...], str]()
    for tombstone in returned.restored:
        record = tombstone.record
        group = (type(record), getattr(record, type(record).group_field or "user_id"), record.owner)
        if group not in known:  # one check for all of a user's records in a session
            known[group] = content.in_its_way(record)
        obstacle = known[group] or content.in_its_place(record)
        if obstacle:
            returned.kept.append((tombstone, f"{obstacle} does not decode, and is in its place"))
        else:
            restored.append(tombstone)
    returned.restored = restored
    content.put_back([(tombstone.record, tombstone.position) for tombstone in restored])
    return returned
