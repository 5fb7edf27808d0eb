"""Compares files with SQL, record by record: what is equal, what differs in which fields, what one side lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from orbsite.operations.batches import batched
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.operations.source import Snapshot
from orbsite.storage.domain import Domain, Entry
from orbsite.storage.finding import Finding, error
from orbsite.storage.record import Key, Record, digest
from orbsite.storage.store import LedgerStore
from orbsite.stores import open_sql_store

COLUMNS = ("read", "equal", "differ", "missing", "extra", "rejected")
_BATCH = 500


def verify(domains: list[Domain], base: Path, *, progress: Progress = silent) -> Report:
    """Compare the files under a data directory with SQL. Raises DocumentError and StoreUnavailable.

    `differ`, `missing` (in the file alone) and `extra` (in SQL alone) are listed one by one.
    """
    targets = {domain.name: open_sql_store(domain) for domain in domains}
    snapshot = Snapshot(domains, base)
    report = Report(columns=COLUMNS, bad=("differ", "missing", "extra", "rejected"))
    for domain in domains:
        section = report.section(domain.name, (kind.plural for kind in domain.kinds))
        compare(snapshot.entries(domain), targets[domain.name], section, progress=progress)
    return report


def compare(source: Iterable[Entry], target: LedgerStore, section: Section, *, progress: Progress = silent) -> None:
    """Compare entries with what a store holds."""
    seen: dict[type[Record], set[Key]] = {kind: set() for kind in target.domain.kinds}
    for batch in batched(source, _BATCH):
        items = [entry for entry in batch if entry.kind is not None]
        for kind in target.domain.kinds:
            _compare_batch(kind, [entry for entry in items if entry.kind is kind], target, section, seen[kind])
        progress(len(items))
    for kind, keys in seen.items():
        if target.count(kind) > len(keys):
            _list_extra(kind, keys, target, section)


def _compare_batch(
    kind: type[Record], batch: list[Entry], target: LedgerStore, section: Section, seen: set[Key]
) -> None:
    rows = target.rows(kind, [entry.record.key for entry in batch if entry.record])
    for entry in batch:
        section.count(kind.plural, "read")
        row = rows.get(entry.record.key) if entry.record else None
        if entry.record is None:
            what, found = "rejected", list(entry.findings)
        elif row is None:
            what, found = "missing", [error(entry.path, "is not in SQL")]
        elif row.record is None:
            what, found = "differ", [error(entry.path, "its row in SQL does not decode")]
        else:
            what, found = _weigh(entry.record, row.record, entry.path)
        if row is not None:
            seen.add(row.key)
        section.count(kind.plural, what)
        section.findings += found


def _weigh(record: Record, other: Record, path: str) -> tuple[str, list[Finding]]:
    if digest(record) == digest(other):
        return "equal", []
    names = ", ".join(differences(record, other))
    return "differ", [error(path, f"differs from SQL in {names}")]


def differences(record: Record, other: Record) -> Iterator[str]:
    """Yield the JSON names of the fields in which two records differ."""
    ours, theirs = record.as_json(), other.as_json()
    for name in dict.fromkeys((*ours, *theirs)):
        if name not in record.outside_digest and ours.get(name) != theirs.get(name):
            yield name


def _list_extra(kind: type[Record], keys: set[Key], target: LedgerStore, section: Section) -> None:
    for record in target.walk(kind):
        if record.key not in keys:
            section.count(kind.plural, "extra")
            section.findings.append(error(f"{kind.plural} {list(record.key)}", "is in SQL and not in the file"))
