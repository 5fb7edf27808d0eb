"""Cuts a source into batches, each prepared for comparison and insertion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from orbsite.operations.batched import batched
from orbsite.operations.migration.ownership import is_open
from orbsite.storage.base.store import LedgerStore, RecordBatch
from orbsite.storage.findings import Finding
from orbsite.storage.records.domain import Entry
from orbsite.storage.records.record import Record

SIZE = 5000
_BYTES = 4 << 20
"""The maximum size in bytes of a batch, plus up to one page, for sources that know the sizes of their entries."""


@dataclass(slots=True)
class Batch:
    """Consecutive entries of a source."""

    entries: list[Entry]
    is_done: bool = False
    """Whether an earlier run has processed them."""
    batches: list[tuple[RecordBatch, list[Entry]]] = field(default_factory=list)
    """Records with one possible owner, by kind, each with its entry."""
    open: list[Entry] = field(default_factory=list)
    """Records with several possible owners. Their findings are not in `findings`."""
    rest: list[Entry] = field(default_factory=list)
    """All other items: those that do not decode, and copies."""

    items: int = 0
    """The number of entries that are items."""
    findings: list[Finding] = field(default_factory=list)
    """The findings about the entries."""


def parts_of(
    source: Iterable[Entry],
    target: LedgerStore,
    *,
    size: int = SIZE,
    done: int = 0,
    run: Callable[[], int | None] = lambda: None,
) -> Iterator[Batch]:
    """Yield the batches of a source. The first `done` entries come in batches of their own, marked as done.

    `run` returns the run that writes the batch if all its records may be new, and None otherwise.
    """
    iterator = iter(source)
    for found in batched(islice(iterator, done), size):
        yield Batch(found, is_done=True, items=sum(entry.kind is not None for entry in found))
    for found in _groups(iterator, size):
        yield _prepared(found, target, run())


def _groups(entries: Iterable[Entry], most: int) -> Iterator[list[Entry]]:
    """Yield lists of up to `most` entries, shorter where the entries are large."""
    found: list[Entry] = []
    size = 0
    for entry in entries:
        size += entry.size
        if found and (len(found) == most or (entry.size and size > _BYTES)):
            yield found
            found, size = [], entry.size
        found.append(entry)
    if found:
        yield found


def _prepared(entries: list[Entry], target: LedgerStore, run: int | None) -> Batch:
    part = Batch(entries)
    single_owner: list[Entry] = []
    for entry in entries:
        if entry.owners and is_open(entry):
            part.open.append(entry)
            continue
        if entry.findings:
            part.findings += entry.findings
        if entry.record is not None and not entry.copy:
            single_owner.append(entry)
        elif entry.kind is not None:
            part.rest.append(entry)
    part.items = len(part.rest) + len(part.open) + len(single_owner)
    part.batches = batches_of(single_owner, target, run)
    return part


def batches_of(
    entries: Iterable[Entry], target: LedgerStore, run: int | None = None
) -> list[tuple[RecordBatch, list[Entry]]]:
    """Return batches of records, by kind, each with its entries."""
    groups: dict[type[Record], list[Entry]] = {}
    for entry in entries:
        if entry.record is not None:
            groups.setdefault(type(entry.record), []).append(entry)
    batches = []
    for kind, group in groups.items():
        records = [entry.record for entry in group if entry.record is not None]
        batches.append((target.make_batch(kind, records, [entry.position for entry in group], run), group))
    return batches
