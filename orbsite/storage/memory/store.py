"""The in-memory store, for tests and as the simplest implementation of the store contract."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from orbsite.storage.base.erasures import ERASED, ErasureList
from orbsite.storage.base.preconditions import refuse_another, refuse_other_owner, refuse_unexpected
from orbsite.storage.base.query import Query
from orbsite.storage.base.snapshot import Listed
from orbsite.storage.base.store import (
    Comparison,
    LedgerStore,
    Placed,
    RecordBatch,
    Store,
    StoredRecord,
    alone,
    last_of_each,
)
from orbsite.storage.errors import Conflict
from orbsite.storage.findings import Finding, Unreadable
from orbsite.storage.memory.index import SortedIndex
from orbsite.storage.records.checksum import Sums
from orbsite.storage.records.decoder import checked
from orbsite.storage.records.digest import Columns, digest
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Key, R, Record, own
from orbsite.storage.retention.plan import Plan, Returned, Tombstone, WriteTombstones, planned
from orbsite.storage.retention.policy import Policy


class MemoryStore(LedgerStore):
    """Keeps records in sorted indexes, one for each kind, under one lock."""

    name = "memory"

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain)
        self._indexes: dict[type[Record], SortedIndex[Any]] = {kind: SortedIndex() for kind in domain.kinds}
        self._runs: dict[tuple[type[Record], Key], tuple[int | None, str, int | None]] = {}
        self._lock = threading.RLock()
        self.recorded_rows: dict[str, list[Tombstone]] = {}
        """The tombstones of removed records by the name of the run; they last as long as the process."""

    def fetch(
        self,
        kind: type[R],
        keys: Iterable[Key],
        *,
        user_id: str | None = None,
        findings: list[Finding] | None = None,  # noqa: ARG002 -- every record in memory decodes
    ) -> dict[Key, R]:
        with self._lock:
            kept = self._of(kind).records
            found = {key: kept[key] for key in keys if key in kept}
        return {key: own(one) for key, one in found.items() if user_id in (None, one.user_id)}

    def select(self, kind: type[R], query: Query, findings: list[Finding] | None = None) -> list[R]:  # noqa: ARG002
        with self._lock:
            return [own(one) for one in query.select(kind, self._of(kind).among(query.where))]

    def add(self, record: R) -> tuple[R, bool]:
        record = checked(record)
        with self._lock:
            sorted_index = self._of(type(record))
            kept = sorted_index.records.get(record.key)
            if kept is None:
                sorted_index.put(record)
                return own(record), True
        refuse_other_owner(record, kept)
        return own(kept), False

    def put(self, records: Iterable[Record], *, expect: str | None = None, free: bool = False) -> None:
        self.put_checked(last_of_each(records, expect, free=free), expect, free=free)

    def delete(
        self, kind: type[Record], keys: Iterable[Key], *, user_id: str | None = None, expect: str | None = None
    ) -> int:
        wanted = alone(keys, expect)
        with self._lock:
            found = self.fetch(kind, wanted, user_id=user_id)
            refuse_unexpected(next(iter(found.values()), None), expect)
            for key in found:
                self._of(kind).drop(key)
                self._runs.pop((kind, key), None)
            return len(found)

    def delete_where(self, kind: type[Record], where: Mapping[str, str]) -> int:
        with self._lock:
            return self.delete(kind, [record.key for record in self.find(kind, where)])

    def walk(self, kind: type[R], *, page: int = 1000, findings: list[Finding] | None = None) -> Iterator[R]:  # noqa: ARG002
        keys = self.keys(kind)
        for start in range(0, len(keys), page):
            yield from self.fetch(kind, keys[start : start + page]).values()

    @contextlib.contextmanager
    def at_one_moment(self, *_: Store, user_id: str | None = None) -> Iterator[Sequence[Any]]:
        yield [self.listed(user_id, {})]

    def listed(self, user_id: str | None, unreadable: Mapping[type[Record], Sequence[Unreadable]]) -> Listed:
        """Return a snapshot of the records, of all users or of one, with the given unreadable items."""
        where = {} if user_id is None else {"user_id": user_id}
        with self._lock:
            by_kind = {kind: self.find(kind, where, oldest_first=True) for kind in self.domain.kinds}
            placed = {
                kind: [(record, self._runs.get((kind, record.key), (None, "", None))[2]) for record in records]
                for kind, records in by_kind.items()
            }
        return Listed(self.domain, placed, unreadable)

    def count(self, kind: type[Record], distinct: str | None = None) -> int:
        with self._lock:
            kept = self._of(kind).records
            return len(kept) if distinct is None else len({getattr(one, distinct) for one in kept.values()})

    def size(self) -> int:
        return 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            before = {kind: dict(sorted_index.records) for kind, sorted_index in self._indexes.items()}
            runs = dict(self._runs)
            try:
                yield
            except BaseException:
                self._indexes = {kind: SortedIndex() for kind in before}
                for kind, kept in before.items():
                    self._of(kind).fill(list(kept.values()))
                self._runs = runs
                raise

    def rows(self, kind: type[R], keys: Iterable[Key], *, lock: bool = False) -> dict[Key, StoredRecord[R]]:  # noqa: ARG002
        with self._lock:
            return {key: self._row(kind, record) for key, record in self.fetch(kind, keys).items()}

    def count_written(self, kind: type[Record], run: int) -> int:
        with self._lock:
            return sum(one is kind and last == run for (one, _), (last, *_) in self._runs.items())

    def present(self, kind: type[Record], keys: Iterable[Key]) -> set[Key]:
        with self._lock:
            return self._of(kind).records.keys() & set(keys)

    def written_by(self, kind: type[R], run: int, *, page: int = 1000) -> Iterator[list[StoredRecord[R]]]:
        with self._lock:
            keys = sorted(key for (one, key), (last, *_) in self._runs.items() if one is kind and last == run)
        for start in range(0, len(keys), page):
            rows = self.rows(kind, keys[start : start + page]).values()
            yield [row for row in rows if row.run == run]

    def make_batch(
        self,
        kind: type[R],
        records: Sequence[R],
        positions: Sequence[int | None],
        run: int | None = None,  # noqa: ARG002 -- this store prepares nothing
    ) -> RecordBatch:
        return RecordBatch(Columns(kind, records), positions)

    def compare(self, batch: RecordBatch) -> Comparison:
        with self._lock:
            kept = [self._of(batch.kind).records.get(record.key) for record in batch.records]
        found = list(enumerate(zip(batch.records, kept, strict=True)))
        return Comparison(
            free=[at for at, (_, old) in found if old is None],
            other=[at for at, (record, old) in found if old is not None and record != old],
        )

    def insert(self, batch: RecordBatch, places: Sequence[int], run: int | None) -> None:
        with self._lock:
            if any(batch.records[at].key in self._of(batch.kind).records for at in places):
                raise Conflict("another writer has taken a key meanwhile; nothing was written")
            self.load([(batch.records[at], batch.positions[at]) for at in places], run)

    def sums(self, kind: type[Record], run: int | None = None, users: Collection[str] | None = None) -> Sums:
        sums = Sums()
        with self._lock:
            for key, record in self._of(kind).records.items():
                if users is not None and record.owner not in users:
                    continue
                if run is None or self._runs.get((kind, key), (None,))[0] == run:
                    sums.add(record.owner, digest(record))
        return sums

    def load(self, records: Sequence[Placed], run: int | None) -> None:
        with self._lock:
            loaded = [record for record, _ in records]
            self.take(loaded)
            self._runs.update({(type(one), one.key): (run, digest(one), position) for one, position in records})

    def planned(self, kind: type[Record], policy: Policy, now: datetime) -> Plan:
        """Return the plan of what a policy removes."""
        with self._lock:
            return planned(kind, self._of(kind).records.values(), policy, now)

    def sweep(self, kind: type[Record], policy: Policy, now: datetime, write_tombstones: WriteTombstones) -> Plan:
        """Remove the records that a policy selects, after `write_tombstones` has kept them."""
        with self._lock:
            plan = self.planned(kind, policy, now)
            keys = plan.keys
            runs = [self._runs.get((kind, key), (None, "", None)) for key in keys]
            plan.tombstones = [replace(one, position=run[2]) for one, run in zip(plan.tombstones, runs, strict=True)]
            write_tombstones(plan)
            self.drop_many(kind, keys)
            return plan

    def put_back(self, tombstones: Iterable[Tombstone], erasures: Callable[[], ErasureList] = ErasureList) -> Returned:
        """Restore removed records if their keys are still free and their users were not erased since."""
        with self._lock:
            returned = self.returning(tombstones, erasures())
            self.load([(tombstone.record, tombstone.position) for tombstone in returned.restored], None)
            return returned

    def returning(self, tombstones: Iterable[Tombstone], erasures: ErasureList) -> Returned:
        """Return which records would be restored from tombstones; nothing is changed."""
        returned = Returned()
        for tombstone in tombstones:
            if erasures.covers(tombstone.record):
                returned.kept.append((tombstone, ERASED))
                continue
            current = self._of(type(tombstone.record)).records.get(tombstone.record.key)
            if current is None:
                returned.restored.append(tombstone)
            elif current == tombstone.record:
                returned.present.append(tombstone)
            else:
                returned.kept.append((tombstone, "its key was taken again since"))
        return returned

    def drop_many(self, kind: type[Record], keys: Sequence[Key]) -> None:
        """Remove many records in one pass; all keys must exist."""
        self._of(kind).drop_many(keys)
        for key in keys if self._runs else ():
            self._runs.pop((kind, key), None)

    def forget(self, user: str) -> None:
        """Remove all tombstones of a user's records."""
        with self._lock:
            for tombstones in self.recorded_rows.values():
                tombstones[:] = [one for one in tombstones if one.record.owner != user]

    def keys(self, kind: type[Record]) -> list[Key]:
        """Return all keys of a kind, sorted."""
        with self._lock:
            return sorted(self._of(kind).records)

    def fill(self, records: Iterable[Record]) -> None:
        """Fill an empty store with many records, which the caller must have checked."""
        with self._lock:
            for kind, group in groupby(records, type):
                self._indexes[kind].fill(list(group))

    def put_checked(self, records: Sequence[Record], expect: str | None, *, free: bool = False) -> None:
        """Insert or replace checked records, each key once."""
        with self._lock:
            for record in records:
                old = self._of(type(record)).records.get(record.key)
                refuse_other_owner(record, old)
                refuse_unexpected(old, expect)
                if free:
                    refuse_another(record, old)
            self.take(one for one in records if not free or one.key not in self._of(type(one)).records)

    def take(self, records: Iterable[Record]) -> None:
        """Insert or replace checked records; a replaced record is not attributed to a run any more."""
        with self._lock:
            for record in records:
                self._of(type(record)).put(record)
                self._runs.pop((type(record), record.key), None)

    def _of(self, kind: type[R]) -> SortedIndex[R]:
        return self._indexes[kind]

    def _row(self, kind: type[Record], record: R) -> StoredRecord[R]:
        run, left, position = self._runs.get((kind, record.key), (None, "", None))
        return StoredRecord(record.key, record, run, run is not None and left == digest(record), position)
