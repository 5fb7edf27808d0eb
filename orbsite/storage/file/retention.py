"""What retention does where records are in memory: one pass takes them out, and one puts them back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from orbsite.storage.base.erasures import ErasureList
from orbsite.storage.file.content import Content
from orbsite.storage.file.store import FileStore
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.record import Record
from orbsite.storage.retention.plan import Plan, Returned, Tombstone, WriteTombstones
from orbsite.storage.retention.policy import Policy


def planned(store: MemoryStore | FileStore, kind: type[Record], policy: Policy, now: datetime) -> Plan:
    """Return what goes by a policy."""
    if isinstance(store, MemoryStore):
        return store.planned(kind, policy, now)
    return store.examine(lambda content: _planned(content, kind, policy, now))


def sweep(
    store: MemoryStore | FileStore, kind: type[Record], policy: Policy, now: datetime, write_tombstones: WriteTombstones
) -> Plan:
    """Remove what goes by a policy, after `bury` has kept it elsewhere: one pass, and one new document."""
    if isinstance(store, MemoryStore):
        return store.sweep(kind, policy, now, write_tombstones)
    return store.rewrite(lambda content: _swept(content, kind, policy, now, write_tombstones))


def put_back(
    store: MemoryStore | FileStore, tombstones: Iterable[Tombstone], erasures: Callable[[], ErasureList] = ErasureList
) -> Returned:
    """Put back what was removed, at its place, where its key is still free, and its user was not erased since.

    The erasure list is read while the store is held: who is entered later is removed later.
    """
    wanted = list(tombstones)
    if isinstance(store, MemoryStore):
        return store.put_back(wanted, erasures)
    return store.rewrite(lambda content: _returned(content, wanted, erasures()))


def _planned(content: Content, kind: type[Record], policy: Policy, now: datetime) -> Plan:
    """Return what goes by a policy.

    Where another item has a record's key, and would count once that is gone, the record stays.
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
    """Remove what goes by a policy, after `bury` has kept it elsewhere."""
    plan = _planned(content, kind, policy, now)
    write_tombstones(plan)
    content.drop_many(kind, [tombstone.record for tombstone in plan.tombstones])
    return plan


def _returned(content: Content, tombstones: Iterable[Tombstone], erasures: ErasureList) -> Returned:
    """Put back what was removed, at its place, where its key is still free."""
    found = content.view.returning(tombstones, erasures)
    restored, known = [], dict[tuple[Any, ...], str]()
    for tombstone in found.restored:
        record = tombstone.record
        name = (type(record), getattr(record, type(record).group_field or "user_id"), record.owner)
        if name not in known:  # one look for all of a user's records in a session
            known[name] = content.in_its_way(record)
        why = known[name] or content.in_its_place(record)
        if why:
            found.kept.append((tombstone, f"{why} does not decode, and is in its place"))
        else:
            restored.append(tombstone)
    found.restored = restored
    content.put_back([(tombstone.record, tombstone.position) for tombstone in restored])
    return found
