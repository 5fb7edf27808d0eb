"""Cuts what a source holds into parts of a size that databases like, each made ready to be compared and written."""

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
"""Where a source tells how many bytes its entries have, a part has no more of them, but for one page of the source."""


@dataclass(slots=True)
class Batch:
    """Some entries, one after the other."""

    entries: list[Entry]
    is_done: bool = False
    """Whether an earlier run has dealt with them."""
    batches: list[tuple[RecordBatch, list[Entry]]] = field(default_factory=list)
    """Records that stand for themselves, by kind, each with its entry."""
    open: list[Entry] = field(default_factory=list)
    """Records of which it is not certain yet whose they are; their findings are not among the part's."""
    rest: list[Entry] = field(default_factory=list)
    """Whatever else is an item: what does not decode, and copies."""

    items: int = 0
    """How many of the entries are items."""
    findings: list[Finding] = field(default_factory=list)
    """What is to be said of the entries."""


def parts_of(
    source: Iterable[Entry],
    target: LedgerStore,
    *,
    size: int = SIZE,
    done: int = 0,
    run: Callable[[], int | None] = lambda: None,
) -> Iterator[Batch]:
    """Yield parts; the first `done` entries come as parts of their own. `run` tells for which run all may be new."""
    iterator = iter(source)
    for found in batched(islice(iterator, done), size):
        yield Batch(found, is_done=True, items=sum(entry.kind is not None for entry in found))
    for found in _limited(iterator, size):
        yield _packed(found, target, run())


def _limited(entries: Iterable[Entry], most: int) -> Iterator[list[Entry]]:
    """Yield lists of so many entries, or fewer that are large."""
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


def _packed(entries: list[Entry], target: LedgerStore, run: int | None) -> Batch:
    part = Batch(entries)
    certain: list[Entry] = []
    for entry in entries:
        if entry.owners and is_open(entry):
            part.open.append(entry)
            continue
        if entry.findings:
            part.findings += entry.findings
        if entry.record is not None and not entry.copy:
            certain.append(entry)
        elif entry.kind is not None:
            part.rest.append(entry)
    part.items = len(part.rest) + len(part.open) + len(certain)
    part.batches = batches_of(certain, target, run)
    return part


def batches_of(
    entries: Iterable[Entry], target: LedgerStore, run: int | None = None
) -> list[tuple[RecordBatch, list[Entry]]]:
    """Return packs of records, by kind, each with its entries."""
    groups: dict[type[Record], list[Entry]] = {}
    for entry in entries:
        if entry.record is not None:
            groups.setdefault(type(entry.record), []).append(entry)
    batches = []
    for kind, group in groups.items():
        records = [entry.record for entry in group if entry.record is not None]
        batches.append((target.make_batch(kind, records, [entry.position for entry in group], run), group))
    return batches
