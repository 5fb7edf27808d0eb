"""Decides which of several possible users owns a record. A user who has the record in SQL keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import structs

from orbsite.operations.batched import batched
from orbsite.storage.base.store import LedgerStore
from orbsite.storage.findings import warning
from orbsite.storage.records.domain import Entry
from orbsite.storage.records.record import Key, Record

_BATCH = 5000
_KEPT = "several users share its place; it stays with the one of them who has it in SQL"

_Name = tuple[type[Record], Key]


class Owners:
    """The owners of the records of one source. Each record is decided once."""

    def __init__(self, target: LedgerStore, source: Callable[[], Iterable[Entry]] = tuple) -> None:
        """`source` returns all entries. They are read again only where a record would change its owner."""
        self._target, self._source = target, source
        self._decided: dict[_Name, str] = {}  # only records that do not belong to their first possible owner
        self._taken: set[_Name] = set()
        self._in_source: set[int] | None = None  # hashes of names

    def settle(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return entries, in their order, with the owners that SQL has. One query serves all of them.

        A key is not given to an owner for whom the source itself has it, nor to a second record.
        """
        present = self._present([one for one in entries if is_open(one) and not one.copy])
        return [self._settled(entry, present) if is_open(entry) else entry for entry in entries]

    def all(self, entries: Iterable[Entry]) -> Iterable[Entry]:
        """Yield the entries as `settle` returns them, in batches."""
        for batch in batched(entries, _BATCH):
            yield from self.settle(batch)

    def _present(self, entries: Sequence[Entry]) -> set[_Name]:
        wanted: dict[type[Record], list[Key]] = {}
        for entry in entries:
            if entry.record is not None:
                record = entry.record
                wanted.setdefault(type(record), []).extend(_key(record, owner) for owner in entry.owners)
        return {(kind, key) for kind, keys in wanted.items() for key in self._target.present(kind, keys)}

    def _settled(self, entry: Entry, present: set[_Name]) -> Entry:
        record = entry.record
        if record is None:
            raise TypeError(entry)
        name = type(record), record.key
        if name not in self._decided and not entry.copy:
            owner = self._owner(entry, record, present)
            if owner != record.owner:
                self._decided[name] = owner
                self._taken.add((type(record), _key(record, owner)))
        if name not in self._decided:
            return entry
        owned = structs.replace(record, user_id=self._decided[name])
        return structs.replace(entry, record=owned, owners=(), findings=(warning(entry.path, _KEPT),))

    def _owner(self, entry: Entry, record: Record, present: set[_Name]) -> str:
        kind = type(record)
        if (kind, record.key) not in present:
            for owner in entry.owners:
                name = kind, _key(record, owner)
                if name in present and name not in self._taken and hash(name) not in self._names():
                    return owner
        return record.owner

    def _names(self) -> set[int]:
        """Return the hashes of the keys that the source itself has."""
        if self._in_source is None:
            found = (one.record for one in self._source() if one.record is not None)
            self._in_source = {hash((type(record), record.key)) for record in found}
        return self._in_source


def is_open(entry: Entry) -> bool:
    """Tell whether a record has several possible owners."""
    return entry.record is not None and len(entry.owners) > 1


def _key(record: Record, owner: str) -> Key:
    return tuple(owner if name == "user_id" else getattr(record, name) for name in record.key_fields)
