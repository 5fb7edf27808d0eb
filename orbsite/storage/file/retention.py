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
from orbsite.storage.retention.plan import Bury, Grave, Plan, Returned
from orbsite.storage.retention.policy import Policy


def planned(store: MemoryStore | FileStore, kind: type[Record], policy: Policy, now: datetime) -> Plan:
    """Return what goes by a policy."""
    if isinstance(store, MemoryStore):
        return store.planned(kind, policy, now)
    return store.examine(lambda content: _planned(content, kind, policy, now))


def sweep(store: MemoryStore | FileStore, kind: type[Record], policy: Policy, now: datetime, bury: Bury) -> Plan:
    """Remove what goes by a policy, after `bury` has kept it elsewhere: one pass, and one new document."""
    if isinstance(store, MemoryStore):
        return store.sweep(kind, policy, now, bury)
    return store.rewrite(lambda content: _swept(content, kind, policy, now, bury))


def put_back(
    store: MemoryStore | FileStore, graves: Iterable[Grave], erasures: Callable[[], ErasureList] = ErasureList
) -> Returned:
    """Put back what was removed, at its place, where its key is still free, and its user was not erased since.

    The erasure list is read while the store is held: who is entered later is removed later.
    """
    wanted = list(graves)
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
    places = content.places(grave.record for grave in plan.graves)
    plan.held = [key for key in keys if key in held]
    plan.graves = [
        Grave(one.record, one.reason, places.get(key))
        for one, key in zip(plan.graves, keys, strict=True)
        if key not in held
    ]
    return plan


def _swept(content: Content, kind: type[Record], policy: Policy, now: datetime, bury: Bury) -> Plan:
    """Remove what goes by a policy, after `bury` has kept it elsewhere."""
    plan = _planned(content, kind, policy, now)
    bury(plan)
    content.drop_many(kind, [grave.record for grave in plan.graves])
    return plan


def _returned(content: Content, graves: Iterable[Grave], erasures: ErasureList) -> Returned:
    """Put back what was removed, at its place, where its key is still free."""
    found = content.view.returning(graves, erasures)
    restored, known = [], dict[tuple[Any, ...], str]()
    for grave in found.restored:
        record = grave.record
        name = (type(record), getattr(record, type(record).group_field or "user_id"), record.owner)
        if name not in known:  # one look for all of a user's records in a session
            known[name] = content.in_its_way(record)
        why = known[name] or content.in_its_place(record)
        if why:
            found.kept.append((grave, f"{why} does not decode, and is in its place"))
        else:
            restored.append(grave)
    found.restored = restored
    content.put_back([(grave.record, grave.position) for grave in restored])
    return found
