"""The contract of every store: verbs over records, and what each of them promises.

The contract suite proves these promises over memory, files and SQL alike. For all verbs:

- What is wrong with a record is told before anything is written (InvalidRecord).
- A record's owner, its `user_id`, never changes: where the key has the user in it, another user's record of the same id
  is another record; where the key leaves the user out, the key is taken (OwnerConflict).
- An item in the store that does not decode is never returned, replaced or removed (RecordUnreadable where it is in
  the way). A read goes on past it, and appends to `findings` an `Unreadable` that names its key and never its text;
  where a caller gives no list, one warning per read is logged.
- Reading never writes. A write that has returned survives a crash of the process.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeAlias

from orbsite.storage.base.query import Query
from orbsite.storage.findings import Finding, Unreadable
from orbsite.storage.records.checksum import Sums
from orbsite.storage.records.decoder import checked
from orbsite.storage.records.digest import Columns
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Key, R, Record


class Store(ABC):
    """Keeps the records of one domain."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    @abstractmethod
    def fetch(
        self,
        kind: type[R],
        keys: Iterable[Key],
        *,
        user_id: str | None = None,
        findings: list[Finding] | None = None,
    ) -> dict[Key, R]:
        """Return the records with these keys; missing ones, and other users' where a user is given, are absent."""

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
        """Return the records for which every condition holds, newest first by code point, at most `limit`.

        Where they take more than `max_bytes` of memory, they end with the one that exceeds it, but not with the first:
        more than one record of more bytes tells that there is more.
        Of items that do not decode it tells those that lie within what it looked at; whether tag and text would hold
        for them cannot be known. `after` is the `order` of the last record of the page before: pages neither skip nor
        repeat while others write. Raises ValueError for conditions that such records cannot answer.
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
        """Return what `find` does, for a query that was checked."""

    @abstractmethod
    def add(self, record: R) -> tuple[R, bool]:
        """Add a record where its key is free; return the record that is there then, and whether it is this one."""

    @abstractmethod
    def put(self, records: Iterable[Record], *, expect: str | None = None, free: bool = False) -> None:
        """Insert or replace records of any kinds, all or nothing; the last of a key wins.

        With `expect`, the digest of what a single record replaces, nothing is written unless that is still there
        (Conflict). With `free`, nothing is replaced: where a key has another record than this very one, nothing is
        written (Conflict).
        """

    @abstractmethod
    def delete(
        self, kind: type[Record], keys: Iterable[Key], *, user_id: str | None = None, expect: str | None = None
    ) -> int:
        """Remove the records with these keys, all or nothing, and return how many there were.

        With `expect`, the digest of the single record that goes, nothing is removed unless that is still there
        (Conflict).
        """

    @abstractmethod
    def delete_where(self, kind: type[Record], where: Mapping[str, str]) -> int:
        """Remove the records whose fields equal these, all or nothing, and return how many there were."""

    @abstractmethod
    def walk(self, kind: type[R], *, page: int = 1000, findings: list[Finding] | None = None) -> Iterator[R]:
        """Yield all records by key, a page at a time; one that is there all the while comes exactly once."""

    @property
    def shares_moment_with(self) -> Hashable:
        """What stores have in common that `at_one_moment` can read together; most stand alone."""
        return id(self)

    @abstractmethod
    def at_one_moment(self, *others: Store, user_id: str | None = None) -> AbstractContextManager[Sequence[Any]]:
        """Yield the `Snapshot` of this store and of others that share their moment, of everybody or of one user.

        What is written meanwhile shows in none of them, and nobody is kept from writing while they are read.
        """

    @abstractmethod
    def count(self, kind: type[Record], distinct: str | None = None) -> int:
        """Return how many records there are, or how many values a field has among them."""

    @abstractmethod
    def size(self) -> int:
        """Return the bytes that the store takes, as far as it can tell."""


@dataclass(frozen=True, slots=True)
class StoredRecord(Generic[R]):
    """What a store remembers of a record: the run that last wrote it, and whether it is still as that run left it."""

    key: Key
    record: R | None
    """None where the row does not decode."""
    run: int | None
    as_left: bool
    position: int | None = None
    """The record's place in its list, where it came from a file."""
    why: Unreadable | None = None
    """What is wrong with a row that does not decode."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the records of a pack stand to what a store holds; the others are the same there, column by column."""

    free: Sequence[int]
    """The places of those whose keys nothing has."""
    other: Sequence[int]
    """The places of those that have to be looked at: what has their keys says something else, or says it otherwise."""


@dataclass(slots=True)
class RecordBatch:
    """Records of one kind, made ready to be compared and written many at a time."""

    columns: Columns
    positions: Sequence[int | None]
    cells: Sequence[Any] = ()
    """What the columns of each would hold, as the store likes to have it."""
    rows: Sequence[Any] | None = None
    """The same with what the ledger wants to know, where it was made already."""
    _digests: list[str] | None = None
    _sums: Sums | None = None

    @property
    def kind(self) -> type[Record]:
        """What the records are."""
        return self.columns.kind

    @property
    def records(self) -> Sequence[Record]:
        """The records themselves."""
        return self.columns.records

    @property
    def digests(self) -> list[str]:
        """The digest of each record, made when somebody asks first."""
        if self._digests is None:
            self._digests = self.columns.digests()
        return self._digests

    def sums(self, places: Sequence[int]) -> Sums:
        """Return the sums of some of the records; those of all are made once."""
        if len(places) < len(self.records):
            return self._sum(places)
        if self._sums is None:
            self._sums = self._sum(places)
        return self._sums

    def _sum(self, places: Sequence[int]) -> Sums:
        found, told = Sums(), self.digests
        for at in places:
            found.add(self.records[at].owner, told[at])
        return found


Placed: TypeAlias = tuple[Record, int | None]
"""A record and its place in its list, where it has one."""


class LedgerStore(Store):
    """A store that remembers which run wrote what, and so can be moved into, verified and rolled back."""

    @abstractmethod
    def make_batch(
        self, kind: type[R], records: Sequence[R], positions: Sequence[int | None], run: int | None = None
    ) -> RecordBatch:
        """Make records of a kind ready, each key once; any thread may do so.

        With a run, they will most likely all be new, and that run's: what can be made for that is made now.
        """

    @abstractmethod
    def compare(self, batch: RecordBatch) -> Comparison:
        """Return how the records of a pack stand to what is there."""

    @abstractmethod
    def insert(self, batch: RecordBatch, places: Sequence[int], run: int | None) -> None:
        """Put those of a pack, whose keys are free, in the name of a run or of nobody.

        Raises Conflict where a key is not free any more; the transaction has to be given up then.
        """

    @abstractmethod
    def sums(self, kind: type[Record], run: int | None = None) -> Sums:
        """Return the sums of all records, or of those that a run was the last to write, from what is really there."""

    def loading(self, size: int) -> AbstractContextManager[None]:  # noqa: ARG002 -- for those to whom it matters
        """Make ready for much to be compared and written: about so many bytes."""
        return contextlib.nullcontext()

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Make everything written meanwhile all or nothing."""

    @abstractmethod
    def rows(self, kind: type[R], keys: Iterable[Key], *, lock: bool = False) -> dict[Key, StoredRecord[R]]:
        """Return what is remembered of these keys, of items that do not decode too (their record is None).

        With `lock`, nobody else can change those rows until the transaction ends.
        """

    @abstractmethod
    def count_written(self, kind: type[Record], run: int) -> int:
        """Return how many rows a run was the last to write."""

    @abstractmethod
    def present(self, kind: type[Record], keys: Iterable[Key]) -> set[Key]:
        """Return those of these keys that something has, be it an item that does not decode."""

    @abstractmethod
    def written_by(self, kind: type[R], run: int, *, page: int = 1000) -> Iterator[list[StoredRecord[R]]]:
        """Yield, a page at a time and by key, what a run was the last to write; pages may be changed meanwhile."""

    @abstractmethod
    def load(self, records: Sequence[Placed], run: int | None) -> None:
        """Put records with their positions in the name of a run; the records were checked by whoever read them.

        Raises Conflict, and then the transaction has to be given up.
        """


def last_of_each(records: Iterable[Record], expect: str | None = None, *, free: bool = False) -> list[Record]:
    """Return checked records, the last of each key. Raises InvalidRecord, and ValueError for a misplaced `expect`."""
    last = {(type(record), record.key): record for record in map(checked, records)}
    if expect is not None and (free or len(last) != 1):
        raise ValueError("expect goes with a single record, which is there already")
    return list(last.values())


def alone(keys: Iterable[Key], expect: str | None) -> list[Key]:
    """Return the keys of what is to be removed. Raises ValueError for a misplaced `expect`."""
    wanted = list(keys)
    if expect is not None and len(wanted) != 1:
        raise ValueError("expect goes with a single key")
    return wanted


def by_kind(records: Iterable[Record]) -> Iterator[tuple[type[Record], list[Record]]]:
    """Yield records by their kinds, in one order for all writers: no deadlock."""
    groups: dict[type[Record], list[Record]] = {}
    for record in sorted(records, key=lambda one: (one.plural, one.key)):
        groups.setdefault(type(record), []).append(record)
    return iter(groups.items())
