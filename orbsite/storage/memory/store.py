"""Records in memory: the store for tests, and the simplest statement of the contract."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    """Keeps records on shelves, under one lock."""

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain)
        self._shelves: dict[type[Record], SortedIndex[Any]] = {kind: SortedIndex() for kind in domain.kinds}
        self._runs: dict[tuple[type[Record], Key], tuple[int | None, str, int | None]] = {}
        self._lock = threading.RLock()
        self.recorded_rows: dict[str, list[Tombstone]] = {}
        """What retention has removed, by the name of the run, as long as the process lives."""

    def fetch(
        self,
        kind: type[R],
        keys: Iterable[Key],
        *,
        user_id: str | None = None,
        findings: list[Finding] | None = None,  # noqa: ARG002 -- all of it decodes
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
        """Return a snapshot, with what does not decode beside it."""
        where = {} if user_id is None else {"user_id": user_id}
        with self._lock:
            found = {kind: self.find(kind, where, oldest_first=True) for kind in self.domain.kinds}
            placed = {
                kind: [(one, self._runs.get((kind, one.key), (None, "", None))[2]) for one in some]
                for kind, some in found.items()
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
            before = {kind: dict(sorted_index.records) for kind, sorted_index in self._shelves.items()}
            runs = dict(self._runs)
            try:
                yield
            except BaseException:
                self._shelves = {kind: SortedIndex() for kind in before}
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
        run: int | None = None,  # noqa: ARG002 -- there is nothing to make
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
                raise Conflict("somebody else has taken a key meanwhile")
            self.load([(batch.records[at], batch.positions[at]) for at in places], run)

    def sums(self, kind: type[Record], run: int | None = None) -> Sums:
        found = Sums()
        with self._lock:
            for key, record in self._of(kind).records.items():
                if run is None or self._runs.get((kind, key), (None,))[0] == run:
                    found.add(record.owner, digest(record))
        return found

    def load(self, records: Sequence[Placed], run: int | None) -> None:
        with self._lock:
            loaded = [record for record, _ in records]
            self.take(loaded)
            self._runs.update({(type(one), one.key): (run, digest(one), position) for one, position in records})

    def planned(self, kind: type[Record], policy: Policy, now: datetime) -> Plan:
        """Return what goes by a policy."""
        with self._lock:
            return planned(kind, self._of(kind).records.values(), policy, now)

    def sweep(self, kind: type[Record], policy: Policy, now: datetime, write_tombstones: WriteTombstones) -> Plan:
        """Remove what goes by a policy, after `bury` has kept it elsewhere."""
        with self._lock:
            plan = self.planned(kind, policy, now)
            keys = plan.keys
            runs = [self._runs.get((kind, key), (None, "", None)) for key in keys]
            plan.tombstones = [replace(one, position=run[2]) for one, run in zip(plan.tombstones, runs, strict=True)]
            write_tombstones(plan)
            self.drop_many(kind, keys)
            return plan

    def put_back(self, tombstones: Iterable[Tombstone], erasures: Callable[[], ErasureList] = ErasureList) -> Returned:
        """Put back what was removed, where its key is still free, and its user was not erased since."""
        with self._lock:
            found = self.returning(tombstones, erasures())
            self.load([(tombstone.record, tombstone.position) for tombstone in found.restored], None)
            return found

    def returning(self, tombstones: Iterable[Tombstone], erasures: ErasureList) -> Returned:
        """Return what would become of graves that are opened."""
        found = Returned()
        for tombstone in tombstones:
            if erasures.covers(tombstone.record):
                found.kept.append((tombstone, ERASED))
                continue
            there = self._of(type(tombstone.record)).records.get(tombstone.record.key)
            if there is None:
                found.restored.append(tombstone)
            elif there == tombstone.record:
                found.present.append(tombstone)
            else:
                found.kept.append((tombstone, "its key was taken again since"))
        return found

    def drop_many(self, kind: type[Record], keys: Sequence[Key]) -> None:
        """Remove many records at once."""
        self._of(kind).drop_many(keys)
        for key in keys if self._runs else ():
            self._runs.pop((kind, key), None)

    def forget(self, user: str) -> None:
        """Drop what retention has removed of a user."""
        with self._lock:
            for tombstones in self.recorded_rows.values():
                tombstones[:] = [one for one in tombstones if one.record.owner != user]

    def keys(self, kind: type[Record]) -> list[Key]:
        """Return all keys, in order."""
        with self._lock:
            return sorted(self._of(kind).records)

    def fill(self, records: Iterable[Record]) -> None:
        """Take many records of a store that was empty; whoever read them has checked them."""
        with self._lock:
            for kind, some in groupby(records, type):
                self._shelves[kind].fill(list(some))

    def put_checked(self, records: Sequence[Record], expect: str | None, *, free: bool = False) -> None:
        """Put records, each key once, that were checked."""
        with self._lock:
            for record in records:
                old = self._of(type(record)).records.get(record.key)
                refuse_other_owner(record, old)
                refuse_unexpected(old, expect)
                if free:
                    refuse_another(record, old)
            self.take(one for one in records if not free or one.key not in self._of(type(one)).records)

    def take(self, records: Iterable[Record]) -> None:
        """Put records that were checked; a record that a run left is not that run's any more."""
        with self._lock:
            for record in records:
                self._of(type(record)).put(record)
                self._runs.pop((type(record), record.key), None)

    def _of(self, kind: type[R]) -> SortedIndex[R]:
        return self._shelves[kind]

    def _row(self, kind: type[Record], record: R) -> StoredRecord[R]:
        run, left, position = self._runs.get((kind, record.key), (None, "", None))
        return StoredRecord(record.key, record, run, run is not None and left == digest(record), position)
