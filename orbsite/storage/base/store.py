"""The contract of every store: methods that read and write records, and the promises of each method.

The contract suite tests these promises for the memory, file and SQL stores alike. For all methods:

- An invalid record is refused before anything is written (InvalidRecord).
- The owner of a record, its `user_id`, never changes. If the key includes the user, a record of another user with the
  same id is another record. If the key does not include the user, the key is taken (OwnerConflict).
- An item in the store that does not decode is never returned, replaced or removed (RecordUnreadable if a write would
  replace it). A read continues after it, and appends to `findings` an `Unreadable` that has its key and none of its
  text. If the caller passes no list, each read logs one warning.
- Reading never writes. A write that has returned survives a crash of the process.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias

from orbsite.storage.base.query import Query
from orbsite.storage.findings import Finding, Unreadable
from orbsite.storage.records.checksum import Sums
from orbsite.storage.records.decoder import checked
from orbsite.storage.records.digest import Columns
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Key, R, Record


@dataclass(frozen=True, slots=True)
class PrintedPage:
    """Records that were printed without making records of them."""

    items: bytes
    """A JSON list of the records, each as its file has it."""
    following: tuple[Any, ...] | None
    """The `order` of the last of them if there are more, for `Query.after`."""


class Store(ABC):
    """The abstract base class of the stores, each of which keeps the records of one domain."""

    name: ClassVar[str]
    """The name of this kind of store in reports, figures and policies."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    @property
    def database(self) -> str | None:
        """The alias of the database that holds the records, or None."""
        return None

    @property
    def base(self) -> Path | None:
        """The data directory that holds the records, or None."""
        return None

    def journal_size(self) -> int | None:
        """Return the bytes of the journal, or None where the store has none."""
        return None

    def refused(self) -> int:
        """Return how many items do not decode. This may read everything."""
        return 0

    @abstractmethod
    def fetch(
        self,
        kind: type[R],
        keys: Iterable[Key],
        *,
        user_id: str | None = None,
        findings: list[Finding] | None = None,
    ) -> dict[Key, R]:
        """Return the records with these keys, by key.

        Keys without a record are absent, and with `user_id` the records of other users are too.
        """

    def find(
        self,
        kind: type[R],
        where: Mapping[str, str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        tag: str | None = None,
        text: str | None = None,
        after: tuple[Any, ...] | None = None,
        limit: int | None = None,
        max_bytes: int | None = None,
        oldest_first: bool = False,
        findings: list[Finding] | None = None,
    ) -> list[R]:
        """Return the records that meet every condition, newest first by code point, at most `limit`.

        If they take more than `max_bytes` of memory, the list ends with the record that exceeds the limit, but never
        with the first record. Two or more records that take more than `max_bytes` show that there may be more.
        `findings` receives the items within the part that was read that do not decode; whether they would meet the
        conditions on tag and text is not known. `after` is the `order` of the last record of the previous page: pages
        neither skip nor repeat records while other writers work. Raises ValueError for conditions that do not apply to
        records of this kind.
        """
        query = Query(
            where=where or {},
            since=since,
            until=until,
            tag=tag,
            text=text,
            after=after,
            limit=limit,
            max_bytes=max_bytes,
            oldest_first=oldest_first,
        )
        query.check(kind)
        return self.select(kind, query) if findings is None else self.select(kind, query, findings)

    @abstractmethod
    def select(self, kind: type[R], query: Query, findings: list[Finding] | None = None) -> list[R]:
        """Return the records that `find` returns, for a query that was checked."""

    def printed(self, kind: type[Record], query: Query) -> PrintedPage | None:  # noqa: ARG002 -- for other stores
        """Return the records that `find` returns as JSON, for a query that was checked, with `limit` and `max_bytes`.

        None where the store cannot print them without making records of them, and for a page with anything unusual:
        an item that does not decode, unknown keys, or records that may take more than `max_bytes`. `find` reads it.
        """
        return None

    @abstractmethod
    def add(self, record: R) -> tuple[R, bool]:
        """Add a record if its key is free; return the record that the store then has, and whether it was added."""

    @abstractmethod
    def put(self, records: Iterable[Record], *, expect: str | None = None, free: bool = False) -> None:
        """Insert or replace records of any kinds, all or nothing; the last record of each key wins.

        With `expect`, the digest of the stored record that a single record replaces, nothing is written unless the
        stored record still has that digest (Conflict). With `free`, nothing is replaced: if a key has a different
        record, nothing is written (Conflict).
        """

    @abstractmethod
    def delete(
        self, kind: type[Record], keys: Iterable[Key], *, user_id: str | None = None, expect: str | None = None
    ) -> int:
        """Remove the records with these keys, all or nothing, and return how many were removed.

        With `expect`, the digest of the single record to remove, nothing is removed unless the stored record still has
        that digest (Conflict).
        """

    @abstractmethod
    def delete_where(self, kind: type[Record], where: Mapping[str, str]) -> int:
        """Remove the records whose fields equal these values, all or nothing, and return how many were removed."""

    @abstractmethod
    def walk(self, kind: type[R], *, page: int = 1000, findings: list[Finding] | None = None) -> Iterator[R]:
        """Yield all records by key, a page at a time.

        A record that exists from the beginning to the end of the iteration is yielded exactly once.
        """

    @property
    def shares_moment_with(self) -> Hashable:
        """A value that is equal for stores that `at_one_moment` can read together; unique by default."""
        return id(self)

    @abstractmethod
    def at_one_moment(self, *others: Store, user_id: str | None = None) -> AbstractContextManager[Sequence[Any]]:
        """Yield the `Snapshot` of this store and of others with the same `shares_moment_with`, of all users or of one.

        Later writes show in none of the snapshots, and reading a snapshot blocks no writer.
        """

    @abstractmethod
    def count(self, kind: type[Record], distinct: str | None = None) -> int:
        """Return the number of records, or of distinct values of the field that `distinct` names."""

    @abstractmethod
    def size(self) -> int:
        """Return how many bytes the store takes; the value may be an estimate."""


@dataclass(frozen=True, slots=True)
class StoredRecord(Generic[R]):
    """A stored record with its ledger data: the run that last wrote it, and whether it is unchanged since then."""

    key: Key
    record: R | None
    """None if the row does not decode."""
    run: int | None
    as_left: bool
    position: int | None = None
    """The record's place in its list, if it came from a file."""
    why: Unreadable | None = None
    """The finding for a row that does not decode."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A record batch compared with a store. Records in neither list are stored already, equal in every column."""

    free: Sequence[int]
    """The indexes of the records whose keys are free."""
    other: Sequence[int]
    """The indexes of the records whose keys are taken by rows that differ in at least one column."""


@dataclass(slots=True)
class RecordBatch:
    """Records of one kind, prepared for comparison and writing in bulk."""

    columns: Columns
    positions: Sequence[int | None]
    cells: Sequence[Any] = ()
    """The column values of each record, in the form that the store needs."""
    rows: Sequence[Any] | None = None
    """The column values with the ledger's columns, if they were prepared already."""
    _digests: list[str] | None = None
    _sums: Sums | None = None

    @property
    def kind(self) -> type[Record]:
        """The type of the records in this batch."""
        return self.columns.kind

    @property
    def records(self) -> Sequence[Record]:
        """The records in this batch, in order."""
        return self.columns.records

    @property
    def digests(self) -> list[str]:
        """The digest of each record, computed on first use."""
        if self._digests is None:
            self._digests = self.columns.digests()
        return self._digests

    def sums(self, places: Sequence[int]) -> Sums:
        """Return the checksums of the records at these indexes; those of all records are computed once."""
        if len(places) < len(self.records):
            return self._sum(places)
        if self._sums is None:
            self._sums = self._sum(places)
        return self._sums

    def _sum(self, places: Sequence[int]) -> Sums:
        sums, digests, owners = Sums(), self.digests, [owner or "" for owner in self.columns.of("user_id")]
        if len(places) < len(owners):
            owners, digests = [owners[at] for at in places], [digests[at] for at in places]
        sums.add_all(owners, digests)
        return sums


Placed: TypeAlias = tuple[Record, int | None]
"""A record and its place in its list, None if it has no place."""


class LedgerStore(Store):
    """A store that records which run wrote each row, so that migrations into it can be verified and rolled back."""

    @property
    def has_plain_rows(self) -> bool:
        """Whether the rows or column values of a batch, all texts and numbers, are enough to insert or compare it."""
        return False

    @abstractmethod
    def make_batch(
        self, kind: type[R], records: Sequence[R], positions: Sequence[int | None], run: int | None = None
    ) -> RecordBatch:
        """Prepare records of one kind, each key once. Safe to call from any thread.

        With a run, the rows that this run will insert are prepared too, on the assumption that most records are new.
        """

    @abstractmethod
    def compare(self, batch: RecordBatch) -> Comparison:
        """Compare the records of a batch with the store."""

    @abstractmethod
    def insert(self, batch: RecordBatch, places: Sequence[int], run: int | None) -> None:
        """Insert the records of a batch at these indexes, whose keys are free, as rows of `run`, or of no run.

        Raises Conflict if a key is not free any more; the caller must then roll back the transaction.
        """

    @abstractmethod
    def sums(self, kind: type[Record], run: int | None = None, users: Collection[str] | None = None) -> Sums:
        """Return the checksums of all records, or of those that `run` wrote last, computed from the stored rows.

        With `users`, those of other users may be left out, so that few users cost little in a large store.
        """

    def loading(self, size: int) -> AbstractContextManager[None]:  # noqa: ARG002 -- some stores use the size
        """Prepare the store for comparing and writing about `size` bytes of records."""
        return contextlib.nullcontext()

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Run the block in a transaction: all of its writes are kept, or none."""

    @abstractmethod
    def rows(self, kind: type[R], keys: Iterable[Key], *, lock: bool = False) -> dict[Key, StoredRecord[R]]:
        """Return the stored rows of these keys, including rows that do not decode (their record is None).

        With `lock`, the rows are locked against other writers until the transaction ends.
        """

    @abstractmethod
    def count_written(self, kind: type[Record], run: int) -> int:
        """Return the number of rows that `run` wrote last."""

    @abstractmethod
    def present(self, kind: type[Record], keys: Iterable[Key]) -> set[Key]:
        """Return the keys that are taken, by records or by items that do not decode."""

    @abstractmethod
    def written_by(self, kind: type[R], run: int, *, page: int = 1000) -> Iterator[list[StoredRecord[R]]]:
        """Yield the rows that `run` wrote last, by key, a page at a time; the caller may change each page's rows."""

    @abstractmethod
    def load(self, records: Sequence[Placed], run: int | None) -> None:
        """Write records with their positions as rows of `run`; the caller must have checked the records.

        Raises Conflict; the caller must then roll back the transaction.
        """


def last_of_each(records: Iterable[Record], expect: str | None = None, *, free: bool = False) -> list[Record]:
    """Check the records, and return the last record of each key.

    Raises InvalidRecord for an invalid record, and ValueError for `expect` with several records or with `free`.
    """
    last = {(type(record), record.key): record for record in map(checked, records)}
    if expect is not None and (free or len(last) != 1):
        raise ValueError("expect needs a single record, and cannot be combined with free")
    return list(last.values())


def alone(keys: Iterable[Key], expect: str | None) -> list[Key]:
    """Return the keys as a list. Raises ValueError for `expect` with other than one key."""
    wanted = list(keys)
    if expect is not None and len(wanted) != 1:
        raise ValueError("expect needs a single key")
    return wanted


def by_kind(records: Iterable[Record]) -> Iterator[tuple[type[Record], list[Record]]]:
    """Yield the records grouped by kind, sorted by key, so that all writers take locks in the same order."""
    groups: dict[type[Record], list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.plural, record.key)):
        groups.setdefault(type(record), []).append(record)
    return iter(groups.items())
