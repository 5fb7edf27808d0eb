"""Snapshots of stores as of one moment. Reading a snapshot holds no transaction and no lock."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple

from typing_extensions import override

from orbsite.storage.base.store import Store
from orbsite.storage.findings import Finding, Unreadable
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import R, Record


class Kept(NamedTuple, Generic[R]):
    """A record of a snapshot: `position` is its place in its list, `at` is the value that `Snapshot.again` takes."""

    record: R
    position: int | None
    at: Any


class Snapshot(ABC):
    """The records of one domain, of all users or of one user, as of one moment."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    @abstractmethod
    def records(self, kind: type[R], findings: list[Finding] | None = None) -> Iterator[Kept[R]]:
        """Yield the records of a kind in their order, in bounded memory.

        Items that do not decode are appended to `findings`.
        """

    @abstractmethod
    def again(self, kind: type[R], at: Any) -> R:
        """Return a record that `records` yielded before, by its `at`."""


class Listed(Snapshot):
    """A snapshot of records that are in memory. It shares the records, which are frozen."""

    def __init__(
        self,
        domain: Domain,
        records: Mapping[type[Record], Sequence[tuple[Any, int | None]]],
        unreadable: Mapping[type[Record], Sequence[Unreadable]],
    ) -> None:
        super().__init__(domain)
        self._records, self._unreadable = records, unreadable

    @override
    def records(self, kind: type[R], findings: list[Finding] | None = None) -> Iterator[Kept[R]]:
        if findings is not None:
            findings += self._unreadable.get(kind, ())
        for at, (record, position) in enumerate(self._records[kind]):
            yield Kept(record, position, at)

    @override
    def again(self, kind: type[R], at: Any) -> R:
        record: R = self._records[kind][at][0]
        return record


@contextlib.contextmanager
def snapshots(stores: Sequence[Store], user_id: str | None = None) -> Iterator[list[Snapshot]]:
    """Yield a snapshot of each store, of all users or of one; stores in the same database share one moment."""
    groups: dict[Any, list[Store]] = {}
    for store in stores:
        groups.setdefault(store.shares_moment_with, []).append(store)
    with contextlib.ExitStack() as stack:
        taken: dict[int, Snapshot] = {}
        for first, *others in groups.values():
            group = stack.enter_context(first.at_one_moment(*others, user_id=user_id))
            taken |= {id(store): snapshot for store, snapshot in zip((first, *others), group, strict=True)}
        yield [taken[id(store)] for store in stores]
