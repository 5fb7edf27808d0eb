"""Compares files with SQL, record by record, and lists the records that differ or that one side lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from orbsite.models.ledger import Run, RunState
from orbsite.operations.ledger.erasure_list import known, refused
from orbsite.operations.ledger.runs import counts_of
from orbsite.operations.migration.batches import Batch, batches_of
from orbsite.operations.migration.file_source import DocumentsSnapshot
from orbsite.operations.migration.ownership import Owners
from orbsite.operations.migration.prepared import Source, prepared
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.storage.base.erasures import ErasureList
from orbsite.storage.base.store import LedgerStore, StoredRecord
from orbsite.storage.file.content import no_collection
from orbsite.storage.findings import Finding, Unreadable, error
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain, Entry, flattened
from orbsite.storage.records.record import Key, Record
from orbsite.stores import open_sql_store

COLUMNS = ("read", "equal", "differ", "missing", "extra", "rejected")


def verify(
    domains: list[Domain], base: Path, *, now: Callable[[], datetime] | None = None, progress: Progress = silent
) -> Report:
    """Compare the files under a data directory with SQL. Raises DocumentError and StoreUnavailable.

    Records that differ, are missing (in the file only) or extra (in SQL only) are listed one by one. With a clock, the
    ledger records the verification with its counts.
    """
    targets = {domain.name: open_sql_store(domain) for domain in domains}
    began = None if now is None else now()
    snapshot = DocumentsSnapshot(domains, base)
    report, erasures = Report(columns=COLUMNS, bad=("differ", "missing", "extra", "rejected")), known(base)
    progress.tells_of(report)
    for domain in domains:
        section = report.section_of(domain)
        records, size = snapshot.expected(domain)
        progress.expect(records)
        source = partial(snapshot.entries, domain)
        comparison = Comparison(targets[domain.name], section, Owners(targets[domain.name], source))
        again = partial(_without_erased, domain, erasures, source)
        entries = refused(domain, erasures, snapshot.spans(domain), source)
        comparison.all(entries, size=size, progress=progress, again=again)
        comparison.list_extra(again)
    if now is not None and began is not None:
        run = Run(
            operation=Run.Operation.VERIFY, state=RunState.COMPLETE, source=snapshot.name, sources=snapshot.digests
        )
        run.started_at, run.finished_at, run.counts = began, now(), counts_of(report)
        run.save()
        report.run = run.pk
    return report


def _without_erased(domain: Domain, erasures: ErasureList, source: Callable[[], Iterator[Entry]]) -> Iterator[Entry]:
    return flattened(refused(domain, erasures, source(), source))


class Comparison:
    """Compares entries with a store: equal records in batches, the others one by one."""

    def __init__(self, target: LedgerStore, section: Section, owners: Owners) -> None:
        self._target, self._section, self._owners = target, section, owners
        self._found: dict[type[Record], int] = dict.fromkeys(target.domain.kinds, 0)
        """How many records of the store have been compared with an entry."""

    def all(
        self,
        source: Source,
        *,
        size: int = 0,
        progress: Progress = silent,
        again: Callable[[], Source] | None = None,
    ) -> None:
        """Compare all entries. `list_extra` lists the records that only the store has.

        The source has about `size` bytes; `again` returns it once more.
        """
        batches = prepared(source, self._target, size=size, again=again)
        with no_collection(), self._target.loading(size), batches as parts:
            for part in parts:
                self._compare(part)
                progress(part.items)

    def list_extra(self, source: Callable[[], Iterable[Entry]]) -> None:
        """List the records that only the store has. The source is read again only where there are any."""
        kinds = [kind for kind, found in self._found.items() if self._target.count(kind) > found]
        keys: dict[type[Record], set[Key]] = {kind: set() for kind in kinds}
        for entry in self._owners.all(source()) if kinds else ():
            if entry.record is not None and type(entry.record) in keys:
                keys[type(entry.record)].add(entry.record.key)
        for kind, met in keys.items():
            unreadable = list[Finding]()
            for record in self._target.walk(kind, findings=unreadable):
                if record.key not in met:
                    self._section.count(kind.plural, "extra")
                    path = f"{kind.plural} {list(record.key)}"
                    self._section.findings.append(error(path, "is in SQL and not in the file"))
            for finding in unreadable:
                if isinstance(finding, Unreadable) and finding.key not in met:
                    self._section.count(kind.plural, "extra")
                    self._section.findings.append(error(finding.path, f"is not in the file; {finding.message}"))

    def _compare(self, part: Batch) -> None:
        settled = self._owners.settle(part.open)
        of_settled = Batch(0, batches=batches_of((one for one in settled if not one.copy), self._target))
        for one in (part, of_settled):
            for at in range(len(one.batches)):
                self._compare_in_bulk(one, at)
        for entry in part.rest:
            if entry.record is None and entry.kind is not None:
                self._count(entry.kind, "rejected")
                self._section.findings += entry.findings
        copies = [*part.rest, *(entry for entry in settled if entry.copy)]
        self._compare_each([entry for entry in copies if entry.record is not None], met=0)

    def _compare_in_bulk(self, part: Batch, at: int) -> None:
        """Compare the records of one kind in a batch, and those that differ one by one."""
        batch, entries = part.batches[at]
        comparison = self._target.compare(batch)
        if comparison.free or comparison.other:
            batch, entries = part.with_records(at)
        equal = len(entries) - len(comparison.free) - len(comparison.other)
        self._count(batch.kind, "equal", equal)
        self._count(batch.kind, "missing", len(comparison.free))
        self._section.findings += [error(entries[one].path, "is not in SQL") for one in comparison.free]
        self._found[batch.kind] += equal
        self._compare_each([entries[one] for one in comparison.other])

    def _compare_each(self, entries: list[Entry], met: int = 1) -> None:
        """Compare entries one by one. `met` is 0 for copies of entries that were compared before."""
        groups: dict[type[Record], list[tuple[Record, str]]] = {}
        for entry in entries:
            if entry.record is not None:
                groups.setdefault(type(entry.record), []).append((entry.record, entry.path))
        for kind, group in groups.items():
            rows = self._target.rows(kind, [record.key for record, _ in group])
            for record, path in group:
                row = rows.get(record.key)
                what, found = _classify(record, row, path)
                self._count(kind, what)
                self._section.findings += found
                self._found[kind] += met if row is not None else 0

    def _count(self, kind: type[Record], what: str, number: int = 1) -> None:
        self._section.count(kind.plural, "read", number)
        self._section.count(kind.plural, what, number)


def _classify(record: Record, row: StoredRecord[Record] | None, path: str) -> tuple[str, list[Finding]]:
    if row is None:
        return "missing", [error(path, "is not in SQL")]
    if row.record is None:
        return "differ", [error(path, "its row in SQL does not decode" if row.why is None else row.why.message)]
    if digest(record) == digest(row.record):
        return "equal", []
    names = ", ".join(differences(record, row.record))
    return "differ", [error(path, f"differs from SQL in {names}")]


def differences(record: Record, other: Record) -> Iterator[str]:
    """Yield the JSON names of the fields in which two records differ."""
    ours, theirs = record.as_json(), other.as_json()
    for name in dict.fromkeys((*ours, *theirs)):
        if name not in record.outside_digest and ours.get(name) != theirs.get(name):
            yield name
