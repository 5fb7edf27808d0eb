"""Data directories that are migrated together: which record stays where two of them differ about one key."""

from __future__ import annotations

from typing import Any

from orbsite.models.ledger import Run
from orbsite.storage.base.store import StoredRecord
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import Record, field_names


class Peers:
    """The other data directories under the directory of a bulk migration, seen from one of them."""

    def __init__(self, root: str, own: str) -> None:
        """Name the directory that holds them all, and the one that is migrated, as the ledger names sources."""
        self._under, self._own = root.rstrip("/") + "/", own
        self._sources: dict[int, str | None] = {}

    def writer_of(self, row: StoredRecord[Any]) -> str | None:
        """Return the other directory whose run left a row as it is; None for any other row."""
        if row.run is None or not row.as_left:
            return None
        if row.run not in self._sources:
            self._sources[row.run] = self._other(row.run)
        return self._sources[row.run]

    def _other(self, uid: int) -> str | None:
        source = Run.objects.filter(uid=uid).values_list("source", flat=True).first()
        return source if source and source != self._own and source.startswith(self._under) else None


def rank(record: Record) -> tuple[bool, Any, str]:
    """Return what decides between records with one key: the later time, then the greater digest.

    A time that the digest leaves out does not count, because two records that differ in it alone are equal.
    """
    kind = type(record)
    name = kind.version_field or kind.time_field
    if name is None or dict(field_names(kind))[name] in kind.outside_digest:
        return False, "", digest(record)
    moment = getattr(record, name)
    return (False, "", digest(record)) if moment is None else (True, moment, digest(record))
