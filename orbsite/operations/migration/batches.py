"""Cuts a source into batches, each prepared for comparison and insertion."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, overload

from orbsite.operations.batched import batched
from orbsite.operations.migration.ownership import is_open
from orbsite.storage.base.store import LedgerStore, RecordBatch
from orbsite.storage.findings import Finding
from orbsite.storage.records.domain import Entry, Span, flattened
from orbsite.storage.records.record import Record

SIZE = 5000
_BYTES = 4 << 20
"""The maximum size in bytes of a batch, plus up to one page, for sources that know the sizes of their entries."""


class Members(Sequence[Entry]):
    """Entries of records of one kind. The entry of a record in a span is made when it is asked for."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.positions: list[int | None] = []
        self._parts: list[Entry | Span] = []
        self._starts: list[int] = []

    def add(self, part: Entry | Span) -> None:
        """Add a span, or an entry with a record."""
        self._parts.append(part)
        self._starts.append(len(self.records))
        if isinstance(part, Span):
            self.records += part.records
            self.positions += range(part.start, part.start + len(part.records))
        elif part.record is not None:
            self.records.append(part.record)
            self.positions.append(part.position)

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, at: int) -> Entry: ...
    @overload
    def __getitem__(self, at: slice) -> list[Entry]: ...
    def __getitem__(self, at: int | slice) -> Entry | list[Entry]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        found = bisect_right(self._starts, range(len(self))[at]) - 1
        part = self._parts[found]
        return part.entry(range(len(self))[at] - self._starts[found]) if isinstance(part, Span) else part


class Absent(Sequence[Entry]):
    """Stands for entries whose records were prepared elsewhere, so that only their number is known."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, at: Any) -> Any:
        raise TypeError(at)


@dataclass(slots=True)
class Batch:
    """Consecutive entries of a source."""

    size: int
    """The number of entries."""
    is_done: bool = False
    """Whether an earlier run has processed them."""
    batches: list[tuple[RecordBatch, Sequence[Entry]]] = field(default_factory=list)
    """Records with one possible owner, by kind, each with its entry.

    They may be absent, so that there are only rows or column values: see `with_records`.
    """
    open: list[Entry] = field(default_factory=list)
    """Records with several possible owners. Their findings are not in `findings`."""
    rest: list[Entry] = field(default_factory=list)
    """All other items: those that do not decode, and copies."""

    items: int = 0
    """The number of entries that are items."""
    findings: list[Finding] = field(default_factory=list)
    """The findings about the entries."""

    whole: Callable[[], Batch] | None = None
    """Reads the same entries again, where their records are absent."""

    def with_records(self, at: int) -> tuple[RecordBatch, Sequence[Entry]]:
        """Return the element of `batches` at an index, with its records, which are read again if they are absent."""
        if self.whole is not None:
            self.batches, self.whole = self.whole().batches, None
        return self.batches[at]


def parts_of(
    source: Iterable[Entry | Span],
    target: LedgerStore,
    *,
    size: int = SIZE,
    done: int = 0,
    run: Callable[[], int | None] = lambda: None,
) -> Iterator[Batch]:
    """Yield the batches of a source. The first `done` entries come in batches of their own, marked as done.

    `run` returns the run that writes the batch if all its records may be new, and None otherwise.
    """
    iterator = iter(flattened(source) if done else source)
    for found in batched(islice(flattened(iterator), done), size):
        items = sum(entry.kind is not None for entry in found)
        yield Batch(len(found), is_done=True, open=list(filter(is_open, found)), items=items)
    for parts in _groups(iterator, size):
        yield batch_of(parts, target, run())


def _groups(parts: Iterable[Entry | Span], most: int) -> Iterator[list[Entry | Span]]:
    """Yield lists of up to `most` entries, fewer where the entries are large; spans are split where they have more."""
    found: list[Entry | Span] = []
    number = size = 0
    for part in parts:
        if isinstance(part, Span):
            span = part
            while number + len(span.records) > most:
                head, span = span.split(most - number)
                yield [*found, head] if head.records else found
                found, number, size = [], 0, 0
            found.append(span)
            number += len(span.records)
            continue
        size += part.size
        if found and (number == most or (part.size and size > _BYTES)):
            yield found
            found, number, size = [], 0, part.size
        found.append(part)
        number += 1
    if found:
        yield found


def batch_of(parts: Sequence[Entry | Span], target: LedgerStore, run: int | None) -> Batch:
    """Return a batch of entries, prepared for comparison and, with a run, also for insertion."""
    batch = Batch(sum(len(part.records) if isinstance(part, Span) else 1 for part in parts))
    single_owner: list[Entry | Span] = []
    for part in parts:
        if isinstance(part, Span):
            single_owner.append(part)
            batch.items += len(part.records)
            continue
        if part.owners and is_open(part):
            batch.open.append(part)
        else:
            batch.findings += part.findings
            if part.record is not None and not part.copy:
                single_owner.append(part)
            elif part.kind is not None:
                batch.rest.append(part)
        batch.items += part.record is not None or part.kind is not None
    batch.batches = batches_of(single_owner, target, run)
    return batch


def batches_of(
    entries: Iterable[Entry | Span], target: LedgerStore, run: int | None = None
) -> list[tuple[RecordBatch, Sequence[Entry]]]:
    """Return batches of records, by kind, each with its entries."""
    groups: dict[type[Record], Members] = {}
    for entry in entries:
        kind = entry.kind if isinstance(entry, Span) else type(entry.record)
        if kind is not None and issubclass(kind, Record):
            groups.setdefault(kind, Members()).add(entry)
    return [(target.make_batch(kind, group.records, group.positions, run), group) for kind, group in groups.items()]
