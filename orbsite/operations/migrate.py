"""Moves the records of files into SQL: each one read is new, unchanged, replaced, kept or rejected."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

import msgspec

from orbsite.models import Run
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.operations.source import read_documents
from orbsite.storage.domain import Domain, Entry
from orbsite.storage.errors import Conflict
from orbsite.storage.finding import Finding, error, warning
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
    progress: Progress = silent,
) -> Report:
    """Move what the files under a data directory hold into SQL, and account for every record.

    Nothing is written where one of the files cannot be read (DocumentError), nor with `dry_run`.
    """
    targets = {domain.name: open_sql_store(domain) for domain in domains}
    sources = read_documents(domains, base)
    report = Report(columns=COLUMNS)
    run = None if dry_run else _begin(base, now())
    report.run = None if run is None else run.pk
    with _recorded(run, report, now):
        for domain in domains:
            section = report.section(domain.name, (kind.plural for kind in domain.kinds))
            move(sources[domain.name], targets[domain.name], report.run, section, progress)
    return report


def move(
    source: Iterable[Entry], target: LedgerStore, run: int | None, section: Section, progress: Progress = silent
) -> None:
    """Move entries into a store in the name of a run, batch by batch; without a run, only tell what would become."""
    iterator = iter(source)
    while batch := list(islice(iterator, _BATCH)):
        section.take(_move_batch(batch, target, run))
        progress(sum(entry.kind is not None for entry in batch))


def _move_batch(batch: list[Entry], target: LedgerStore, run: int | None) -> Section:
    """Move a batch in one transaction; where somebody takes a key in the same moment, weigh everything again."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(Conflict):
            return _weighed(batch, target, run)
    return _weighed(batch, target, run)


def _weighed(batch: list[Entry], target: LedgerStore, run: int | None) -> Section:
    section = Section()
    with target.transaction():
        _load(batch, target, run, section)
    return section


def _load(batch: list[Entry], target: LedgerStore, run: int | None, section: Section) -> None:
    rows = _rows(batch, target)
    loaded: dict[str, list[tuple[Record, int | None]]] = {"new": [], "replaced": []}
    for entry in batch:
        section.findings += entry.findings
        if entry.kind is None:
            continue
        row = rows.get((entry.kind, entry.record.key)) if entry.record else None
        outcome, record, findings = weigh(entry, row)
        section.findings += findings
        section.count(entry.kind.plural, "read")
        section.count(entry.kind.plural, outcome)
        if record is not None and outcome in loaded:
            loaded[outcome].append((record, entry.position))
    if run is not None:
        target.load(loaded["new"], run, free=True)
        target.load(loaded["replaced"], run)


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


def _rows(batch: list[Entry], target: LedgerStore) -> dict[tuple[type[Record], tuple[str, ...]], Row[Record]]:
    keys: dict[type[Record], list[tuple[str, ...]]] = {}
    for entry in batch:
        if entry.record is not None:
            keys.setdefault(type(entry.record), []).append(entry.record.key)
    found: Iterator[tuple[type[Record], dict[tuple[str, ...], Row[Record]]]] = (
        (kind, target.rows(kind, wanted, lock=True)) for kind, wanted in keys.items()
    )
    return {(kind, key): row for kind, rows in found for key, row in rows.items()}


def _begin(base: Path, moment: datetime) -> Run:
    name = os.fsencode(base).decode(errors="backslashreplace")  # a path may hold bytes that no text has
    return Run.objects.create(operation="migrate", source=name, started_at=moment)


@contextlib.contextmanager
def _recorded(run: Run | None, report: Report, now: Callable[[], datetime]) -> Iterator[None]:
    """Note in the ledger how the run ends, and with which counts."""
    if run is None:
        yield
        return
    try:
        yield
        run.state = Run.State.COMPLETE
    except BaseException:
        run.state = Run.State.FAILED
        raise
    finally:
        run.finished_at = now()
        run.counts = {name: part["kinds"] for name, part in report.as_json()["domains"].items()}
        run.save()
