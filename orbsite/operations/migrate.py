"""Moves records from files, or an earlier database, into SQL: new, unchanged, replaced, kept or rejected."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Protocol

import msgspec

from orbsite.models import Run
from orbsite.operations.batches import batched
from orbsite.operations.book import Book, Outcome, open_rejects
from orbsite.operations.ledger import alone, begin, recorded
from orbsite.operations.origin import Origin
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.operations.source import Snapshot
from orbsite.storage.domain import Domain, Entry
from orbsite.storage.errors import Conflict
from orbsite.storage.finding import ROOT, Finding, error, warning
from orbsite.storage.record import Record, digest
from orbsite.storage.store import LedgerStore, Row
from orbsite.stores import open_sql_store

COLUMNS = ("read", "new", "unchanged", "replaced", "kept", "rejected")
_BATCH = 500
_ATTEMPTS = 5


def migrate(
    domains: list[Domain],
    base: Path,
    *,
    now: Callable[[], datetime],
    dry_run: bool = False,
    only_rejected: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Report:
    """Move what the files under a data directory hold into SQL, and account for every record.

    Nothing is written where one of the files cannot be read (DocumentError), nor with `dry_run`. A run over the same
    files that was interrupted is gone on with; with `resume`, nothing else is done (OrbError where there is none). With
    `only_rejected`, only what earlier runs had to leave is tried.
    """
    snapshot = Snapshot(domains, base)
    operation = "retry" if only_rejected else "migrate"
    return transfer(snapshot, domains, operation, now=now, dry_run=dry_run, resume=resume, progress=progress)


def import_database(
    domains: list[Domain],
    url: str,
    *,
    now: Callable[[], datetime],
    dry_run: bool = False,
    progress: Progress = silent,
) -> Report:
    """Move what a database of the earlier system holds into SQL, and account for every record.

    Raises StoreUnavailable where it cannot be read.
    """
    with Origin(url) as origin:
        return transfer(origin, domains, "import", now=now, dry_run=dry_run, progress=progress)


class Source(Protocol):
    """Where a run reads from: the same from beginning to end."""

    name: str
    digest: str

    def entries(self, domain: Domain) -> Iterator[Entry]:
        """Return everything of one domain, in an order that is always the same."""


def transfer(
    source: Source,
    domains: list[Domain],
    operation: str,
    *,
    now: Callable[[], datetime],
    dry_run: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Report:
    """Move what a source holds into SQL, as one run of an operation."""
    targets = {domain.name: open_sql_store(domain) for domain in domains}
    report = Report(columns=COLUMNS, bad=("rejected", "unverified"))
    with contextlib.ExitStack() as stack:
        run = None
        if not dry_run:
            stack.enter_context(alone())
            run = begin(operation, source.name, source.digest, now(), report, resume=resume)
            report.run = run.pk
            stack.enter_context(recorded(run, report, now))
        for domain in domains:
            section = report.section(domain.name, (kind.plural for kind in domain.kinds))
            book = None if run is None else Book(run, report, domain)
            entries, paths = source.entries(domain), None
            if operation == "retry":
                paths = open_rejects(domain, source.name)
                entries = _at(paths, entries)
            move(entries, targets[domain.name], report.run, section, progress=progress, book=book)
            if run is not None and book is not None:
                book.settle(paths)
                _verify(source, targets[domain.name], section, run, paths)
    return report


def _verify(source: Source, target: LedgerStore, section: Section, run: Run, paths: set[str] | None) -> None:
    """Weigh everything once more against what SQL holds now: nothing may be left to write."""
    domain, again = target.domain, Section()
    entries = source.entries(domain)
    move(entries if paths is None else _at(paths, entries), target, None, again)
    for kind, counts in again.counts.items():
        left = counts["new"] + counts["replaced"]
        if left:
            section.count(kind, "unverified", left)
            section.findings.append(error(ROOT, f"{left} {kind} are not in SQL as they were read; run this again"))
    run.verification = (run.verification or {}) | {domain.name: {kind: dict(one) for kind, one in again.counts.items()}}
    run.save(update_fields=["verification"])


def move(
    source: Iterable[Entry],
    target: LedgerStore,
    run: int | None,
    section: Section,
    *,
    progress: Progress = silent,
    book: Book | None = None,
) -> None:
    """Move entries into a store in the name of a run, batch by batch; without a run, only tell what would become.

    With a book, each batch is noted in the same transaction, and what the book has already is skipped.
    """
    for batch in batched(islice(source, book.done if book else 0, None), _BATCH):
        _move_batch(batch, target, run, section, book)
        progress(sum(entry.kind is not None for entry in batch))


def _move_batch(batch: list[Entry], target: LedgerStore, run: int | None, section: Section, book: Book | None) -> None:
    """Move a batch in one transaction; where somebody takes a key in the same moment, weigh everything again."""
    for attempt in range(1, _ATTEMPTS + 1):
        part = Section()
        try:
            with target.transaction():
                outcomes = _load(batch, target, run, part)
                if book is not None:
                    book.note(outcomes, section, part, len(batch))
        except Conflict:
            if attempt == _ATTEMPTS:
                raise
        else:
            section.take(part)
            return


def _load(batch: list[Entry], target: LedgerStore, run: int | None, section: Section) -> list[Outcome]:
    rows = _rows(batch, target)
    outcomes = []
    for entry in batch:
        section.findings += entry.findings
        if entry.kind is None:
            continue
        row = rows.get((entry.kind, entry.record.key)) if entry.record else None
        what, record, findings = weigh(entry, row)
        section.findings += findings
        section.count(entry.kind.plural, "read")
        section.count(entry.kind.plural, what)
        outcomes.append(Outcome(entry, what, row, record, (*entry.findings, *findings)))
    if run is not None:
        for what, free in (("new", True), ("replaced", False)):
            loaded = [(one.record, one.entry.position) for one in outcomes if one.what == what and one.record]
            target.load(loaded, run, free=free)
    return outcomes


def weigh(entry: Entry, row: Row[Record] | None) -> tuple[str, Record | None, list[Finding]]:
    """Return what becomes of an entry that meets a row: the outcome, the record to write, and what to say of it."""
    record, path = entry.record, entry.path
    if record is None:
        return "rejected", None, []
    if entry.copy or row is None:
        return ("unchanged" if entry.copy else "new"), record, []
    if row.record is None:
        return "rejected", None, [error(path, "the row in SQL does not decode, and was left as it is")]
    if record.user_id != row.record.user_id:
        if row.record.user_id not in entry.owners:
            return "rejected", None, [error(path, "its id belongs to another user in SQL")]
        record = msgspec.structs.replace(record, user_id=row.record.user_id)
    if digest(record) == digest(row.record):
        return "unchanged", record, []
    return _weigh_versions(record, row.record, path, as_left=row.as_left)


def _weigh_versions(record: Record, old: Record, path: str, *, as_left: bool) -> tuple[str, Record, list[Finding]]:
    if record.version_field is None:
        if as_left:
            return "replaced", record, []
        return "kept", record, [warning(path, "the row in SQL was changed since it was migrated; it was kept")]
    new_version, old_version = getattr(record, record.version_field), getattr(old, record.version_field)
    if new_version > old_version:
        return "replaced", record, []
    how = "is newer" if new_version < old_version else "differs and has the same time"
    return "kept", record, [warning(path, f"the row in SQL {how}; it was kept")]


def _at(paths: set[str], source: Iterable[Entry]) -> Iterator[Entry]:
    return (entry for entry in source if entry.path in paths)


def _rows(batch: list[Entry], target: LedgerStore) -> dict[tuple[type[Record], tuple[str, ...]], Row[Record]]:
    keys: dict[type[Record], list[tuple[str, ...]]] = {}
    for entry in batch:
        if entry.record is not None:
            keys.setdefault(type(entry.record), []).append(entry.record.key)
    found: Iterator[tuple[type[Record], dict[tuple[str, ...], Row[Record]]]] = (
        (kind, target.rows(kind, wanted, lock=True)) for kind, wanted in keys.items()
    )
    return {(kind, key): row for kind, rows in found for key, row in rows.items()}
