"""Rolls back one run: removes what it created, restores what it replaced, and keeps and lists rows changed since."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from orbsite.models.ledger import Change, Run, RunState
from orbsite.operations.batched import batched
from orbsite.operations.ledger.change_log import ChangeLog, key_text
from orbsite.operations.ledger.erasure_list import known
from orbsite.operations.ledger.runs import alone, begin, recorded
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.storage.base.erasures import ErasureList
from orbsite.storage.base.store import LedgerStore, StoredRecord
from orbsite.storage.errors import DocumentCorrupt, OrbError
from orbsite.storage.findings import warning
from orbsite.storage.records.changes import Put, StepReader
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Key, Record
from orbsite.stores import open_sql_store

COLUMNS = ("removed", "restored", "kept")
_BATCH = 500
REVERSIBLE = ("migrate", "retry", "import", "upgrade")
WRITTEN = ("new", "replaced")
"""The outcomes of the records that such a run wrote."""


def rollback(
    number: int,
    domains: list[Domain],
    *,
    now: Callable[[], datetime],
    dry_run: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Report:
    """Roll back a run, batch by batch. Call it again to resume after an interruption.

    A row that has changed since the run is kept and listed; with `force` it is rolled back too. Raises OrbError where
    there is no such run, where it cannot be rolled back, or where more rows carry its number than it wrote. Nothing is
    changed then.
    """
    undone = _find(number)
    targets = {domain.name: open_sql_store(domain) for domain in domains}
    report = Report(columns=COLUMNS, bad=("kept",))
    progress.tells_of(report)
    parts = [_Undoing(undone, domain, targets[domain.name], report, force=force) for domain in domains]
    if dry_run:
        for part in parts:
            part.refuse_foreign_rows()
        for part in parts:
            part.look(progress)
        return report
    with alone():
        for part in parts:
            part.refuse_foreign_rows()
        run = begin(Run.Operation.ROLLBACK, f"run {number}", {}, now(), report, reverts=undone, anew=("kept",))
        with recorded(run, report, now):
            for part in parts:
                part.undo(progress, ChangeLog(run, report, part.domain))
            Run.objects.filter(pk=undone.pk).update(state=RunState.ROLLED_BACK)
    return report


def _find(number: int) -> Run:
    run = Run.objects.filter(pk=number).first()
    if run is None:
        raise OrbError(f"there is no run {number}; the admin lists all runs")
    if run.operation not in REVERSIBLE:
        raise OrbError(f"run {number} is a {run.operation}, which cannot be rolled back; {', '.join(REVERSIBLE)} can")
    return run


class _Undoing:
    def __init__(self, run: Run, domain: Domain, store: LedgerStore, report: Report, *, force: bool) -> None:
        self.domain = domain
        self._run, self._store, self._force = run, store, force
        self._section: Section = report.section_of(domain)
        self._steps = StepReader(domain)
        self._erasures: ErasureList | None = None

    def refuse_foreign_rows(self) -> None:
        """Raise OrbError where more rows carry the run's number than the run wrote."""
        for kind in self.domain.kinds:
            found = self._store.count_written(kind, self._run.uid)
            self._run.refresh_from_db(fields=["counts"])  # read after the rows, because the run may still be writing
            counts = self._run.counts.get(self.domain.name, {}).get(kind.plural, {})
            wrote = sum(counts.get(what, 0) for what in WRITTEN)
            if found > wrote:
                raise OrbError(
                    f"run {self._run.pk} wrote {wrote} {kind.plural}, but {found} rows carry its number, so some have "
                    f"another origin; nothing was changed. Check the rows whose run_id is {self._run.uid}, set it to "
                    "NULL where the run did not write them, then roll back again"
                )

    def look(self, progress: Progress) -> None:
        """Count the outcome of each row without writing."""
        for kind in self.domain.kinds:
            for page in self._store.written_by(kind, self._run.uid):
                self._classify(kind, page, self._section)
                progress(len(page))
            self._count_lost(kind)

    def undo(self, progress: Progress, change_log: ChangeLog) -> None:
        """Roll back the rows, a page per transaction together with its counts. Each call counts the kept rows again."""
        for kind in self.domain.kinds:
            for page in self._store.written_by(kind, self._run.uid):
                part = Section()
                with self._store.transaction():
                    rows = self._store.rows(kind, [row.key for row in page], lock=True).values()
                    removed, restored = self._classify(kind, [row for row in rows if row.run == self._run.uid], part)
                    self._store.delete(kind, removed)
                    for before_run, group in groupby(restored, key=lambda one: one.before_run):
                        records = [(self._before(change), change.before_position) for change in group]
                        self._store.load(records, before_run)
                    change_log.note((), self._section, part, len(page))
                self._section.take(part)
                progress(len(page))
            self._count_lost(kind)

    def _classify(
        self, kind: type[Record], rows: list[StoredRecord[Any]], section: Section
    ) -> tuple[list[Key], list[Change]]:
        """Return the keys of the rows to remove, and the changes to revert; count and list the rows to keep."""
        changes = {change.key: change for change in self._changes(kind, [key_text(row.key) for row in rows])}
        removed, restored = [], []
        for row in rows:
            change = changes.get(key_text(row.key))
            if not row.as_left and not self._force:
                _keep(section, kind, key_text(row.key), "was changed since")
            elif change is None and row.record is None:
                _keep(section, kind, key_text(row.key), "does not decode")
            elif change is None or self._was_erased(change):
                section.count(kind.plural, "removed")
                removed.append(row.key)
            else:
                section.count(kind.plural, "restored")
                restored.append(change)
        return removed, sorted(restored, key=lambda change: (change.before_run is None, change.before_run or 0))

    def _was_erased(self, change: Change) -> bool:
        """Tell whether the record that a row had before the run was erased since. It is not restored then."""
        if self._erasures is None:  # current: the run lock excludes erasures
            self._erasures = known()
        if not self._erasures:
            return False
        with contextlib.suppress(OrbError):  # a record that does not decode is reported when it is restored
            return self._erasures.covers(self._before(change)) is not None
        return False

    def _count_lost(self, kind: type[Record]) -> None:
        """List the replaced rows that are gone or that the run no longer owns."""
        for page in batched(self._changes(kind).order_by("pk").iterator(), _BATCH):
            rows = self._store.rows(kind, [tuple(msgspec.json.decode(change.key)) for change in page])
            present = {key_text(row.key): row for row in rows.values()}
            for change in page:
                row = present.get(change.key)
                if row is None:
                    _keep(self._section, kind, change.key, "is gone")
                elif row.run != self._run.uid and not self._is_back(change, row):
                    _keep(self._section, kind, change.key, "was saved again since")

    def _is_back(self, change: Change, row: StoredRecord[Any]) -> bool:
        """Tell whether a row is as it was before the run."""
        if row.run != change.before_run or row.record is None:
            return False
        with contextlib.suppress(OrbError):  # a record that does not decode was not restored
            return digest(row.record) == digest(self._before(change))
        return False

    def _changes(self, kind: type[Record], keys: list[str] | None = None) -> Any:
        found = Change.objects.filter(run=self._run, domain=self.domain.name, kind=kind.plural)
        return found if keys is None else found.filter(key__in=keys)

    def _before(self, change: Change) -> Record:
        step = next(self._steps.read([msgspec.Raw(change.before.encode())]))
        if not isinstance(step, Put):
            raise DocumentCorrupt(f"the ledger's change {change.pk} holds no record; its batch is unchanged")
        return step.record


def _keep(section: Section, kind: type[Record], key: str, why: str) -> None:
    section.count(kind.plural, "kept")
    section.findings.append(warning(f"{kind.plural} {key}", f"{why}; it was kept"))
