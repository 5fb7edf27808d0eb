"""Preconditions that a store checks before it writes anything."""

from __future__ import annotations

from orbsite.storage.errors import Conflict, OwnerConflict, RecordUnreadable
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import R, Record


def refuse_other_owner(record: Record, old: Record | None) -> None:
    """Raise OwnerConflict if writing a record would change its owner."""
    if old is not None and old.user_id != record.user_id:
        raise OwnerConflict(f"the id {record.key[0]!r} belongs to another user; choose another id")


def refuse_another(record: Record, old: Record | None) -> None:
    """Raise Conflict if a different record has the same key."""
    if old is not None and digest(old) != digest(record):
        raise Conflict(f"the key {record.key!r} has another record already; nothing was written")


def refuse_unexpected(old: Record | None, expect: str | None) -> None:
    """Raise Conflict if the stored record is not the one that the caller has read."""
    if expect is not None and (old is None or digest(old) != expect):
        change = "was deleted" if old is None else "was changed by another writer"
        raise Conflict(f"the record {change} since it was read; read it again, then retry")


def readable(old: R | None, record: Record) -> R:
    """Return `old`, the stored record with the same key as `record`. Raises RecordUnreadable if it does not decode."""
    if old is None:
        raise RecordUnreadable(
            f"the row of {record.plural} with the key {record.key!r} does not decode, and it was left as it is; "
            "repair it in the admin or in SQL"
        )
    return old
