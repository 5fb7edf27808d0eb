"""What a change has to find before anything is written."""

from __future__ import annotations

from orbsite.storage.errors import Conflict, OwnerConflict, RecordUnreadable
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import R, Record


def refuse_other_owner(record: Record, old: Record | None) -> None:
    """Raise OwnerConflict where a record would change hands."""
    if old is not None and old.user_id != record.user_id:
        raise OwnerConflict(f"the id {record.key[0]!r} belongs to another user; use an id of its own")


def refuse_another(record: Record, old: Record | None) -> None:
    """Raise Conflict where something else than a record has its key."""
    if old is not None and digest(old) != digest(record):
        raise Conflict(f"the key {record.key!r} has another record already; nothing was written")


def refuse_unexpected(old: Record | None, expect: str | None) -> None:
    """Raise Conflict where the stored record is not the one that the caller has read."""
    if expect is not None and (old is None or digest(old) != expect):
        what = "is gone" if old is None else "was changed by somebody else"
        raise Conflict(f"the record {what} since it was read; read it again, then retry")


def readable(old: R | None, record: Record) -> R:
    """Return the record of a row that has another one's key. Raises RecordUnreadable where it does not decode."""
    if old is None:
        raise RecordUnreadable(
            f"the row of {record.plural} with the key {record.key!r} does not decode, and it was left as it is; "
            "mend it in the admin or in SQL"
        )
    return old
