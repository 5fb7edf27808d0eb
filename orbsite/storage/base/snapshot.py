"""What stores held at one moment, read at leisure: no transaction and no lock is held meanwhile."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple

from orbsite.storage.base.store import Store
from orbsite.storage.findings import Finding, Unreadable
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import R, Record


class Kept(NamedTuple, Generic[R]):
    """A record, its place in its list, where it has one, and by what the snapshot finds it again."""

    record: R
    position: int | None
    at: Any


class Snapshot(ABC):
    """The records of one domain, of everybody or of one user, as of one moment."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    @abstractmethod
    def records(self, kind: type[R], findings: list[Finding] | None = None) -> Iterator[Kept[R]]:
        """Yield the records of a kind in their order, in bounded memory; tell of items that do not decode."""

    @abstractmethod
    def again(self, kind: type[R], at: Any) -> R:
        """Return a record that was yielded before."""


class Listed(Snapshot):
    """A snapshot of what is in memory anyway: it shares the records, which are frozen."""

    def __init__(
        self,
        domain: Domain,
        records: Mapping[type[Record], Sequence[tuple[Any, int | None]]],
        unreadable: Mapping[type[Record], Sequence[Unreadable]],
    ) -> None:
        super().__init__(domain)
        self._records, self._unreadable = records, unreadable

    def records(self, kind: type[R], findings: list[Finding] | None = None) -> Iterator[Kept[R]]:
        """Yield them as they were listed."""
        if findings is not None:
            findings += self._unreadable.get(kind, ())
        for at, (record, position) in enumerate(self._records[kind]):
            yield Kept(record, position, at)

    def again(self, kind: type[R], at: Any) -> R:
        """Return it."""
        record: R = self._records[kind][at][0]
        return record


@contextlib.contextmanager
def snapshots(stores: Sequence[Store], user_id: str | None = None) -> Iterator[list[Snapshot]]:
    """Yield a snapshot of each store, of everybody or of one user; stores of one database have one moment."""
    groups: dict[Any, list[Store]] = {}
    for store in stores:
        groups.setdefault(store.shares_moment_with, []).append(store)
    with contextlib.ExitStack() as stack:
        taken: dict[int, Snapshot] = {}
        for first, *others in groups.values():
            found = stack.enter_context(first.at_one_moment(*others, user_id=user_id))
            taken |= {id(store): one for store, one in zip((first, *others), found, strict=True)}
        yield [taken[id(store)] for store in stores]
