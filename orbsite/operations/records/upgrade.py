"""Upgrades the rows in SQL whose content is of schema version 0. The ledger keeps their previous state."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from orbsite.models.ledger import Change, Run
from orbsite.operations.batched import batched
from orbsite.operations.ledger.change_log import ChangeLog, Outcome, key_text
from orbsite.operations.ledger.runs import alone, begin, recorded
from orbsite.operations.progress import Progress, Stopped, silent
from orbsite.operations.report import Report, Section
from orbsite.search.indexer import refresh_once_saved
from orbsite.storage.base.store import StoredRecord
from orbsite.storage.findings import Finding, warning
from orbsite.storage.records.domain import Domain, Entry
from orbsite.storage.records.record import Key, Record
from orbsite.storage.records.versions import Versions
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import open_sql_store

COLUMNS = ("read", "unchanged", "replaced", "kept", "rejected")
_PAGE = 500


def upgrade_rows(
    domains: list[Domain], *, now: Callable[[], datetime], dry_run: bool = False, progress: Progress = silent
) -> Report:
    """Upgrade the rows of version 0, a batch per transaction; call it again to resume after an interruption.

    An upgrade changes no time of a record. A row that does not decode counts as rejected, and a row that was saved in
    the old form again while the run was interrupted is kept. `rollback` takes the run back. Raises StoreUnavailable and
    LockTimeout.
    """
    report = Report(columns=COLUMNS)
    progress.tells_of(report)
    work = [
        _Upgrade(open_sql_store(domain), kind, domain.versions, report)
        for domain in domains
        if domain.versions is not None
        for kind in domain.versions.records
    ]
    progress.expect(sum(one.number_of_rows for one in work))
    with contextlib.ExitStack() as stack:
        run = None
        if not dry_run:
            stack.enter_context(alone())
            run = begin(Run.Operation.UPGRADE, "SQL", {}, now(), report, anew=("read", "unchanged", "kept", "rejected"))
            stack.enter_context(recorded(run, report, now))
        stack.enter_context(progress.heeded())
        for one in work:
            one.all(run, progress)
    return report


class _Upgrade:
    """The upgrade of the rows of one kind of record."""

    def __init__(self, store: SqlStore, kind: type[Record], versions: Versions, report: Report) -> None:
        self._store, self._kind, self._versions, self._report = store, kind, versions, report
        self._section: Section = report.section(store.domain.name, (kind.plural,))

    @property
    def number_of_rows(self) -> int:
        """The number of rows to read."""
        return self._store.count(self._kind)

    def all(self, run: Run | None, progress: Progress) -> None:
        """Upgrade the rows, a batch per transaction with its changes in the ledger."""
        name, section, unread = self._kind.plural, self._section, list[Finding]()
        change_log = None if run is None else ChangeLog(run, self._report, self._store.domain)
        is_resumed = change_log is not None and change_log.done > 0
        before = section.counts.get(name, Counter())["replaced"]  # by the interrupted run; they are not counted again
        section.count(name, "read", before)
        for batch in batched(self._store.walk(self._kind, page=_PAGE, findings=unread), _PAGE):
            old = [record.key for record in batch if not self._is_current(record)]
            done = self._changed_by(run, batch) if run is not None and is_resumed else set()
            part = Section()
            part.count(name, "unchanged", len({key_text(one.key) for one in batch} - {*map(key_text, old)} - done))
            if run is None or change_log is None:
                part.count(name, "replaced", len(old))
            elif old:
                self._upgrade(old, done, run, change_log, part)
            section.take(part)
            section.count(name, "read", sum(part.counts[name].values()))
            progress(len(batch))
            if progress.is_stopping:
                raise Stopped("interrupted; the rows upgraded so far are kept. Run it again to continue")
        section.count(name, "read", len(unread))
        section.count(name, "rejected", len(unread))
        section.findings += unread

    def _upgrade(self, keys: list[Key], done: set[str], run: Run, change_log: ChangeLog, part: Section) -> None:
        with self._store.transaction():
            rows = self._store.rows(self._kind, keys, lock=True).values()
            outcomes = [one for row in rows if (one := self._outcome(row, done, part)) is not None]
            self._store.load([(one.record, one.row.position) for one in outcomes if one.record and one.row], run.uid)
            change_log.note(outcomes, self._section, part, len(keys))
            changed = [one.record.key for one in outcomes if one.record]
            refresh_once_saved(self._store.domain, self._kind, changed, self._store.using)

    def _outcome(self, row: StoredRecord[Record], done: set[str], part: Section) -> Outcome | None:
        """Return what to replace a locked row by; None if it stays as it is, which is counted."""
        name, record = self._kind.plural, row.record
        if record is None:
            part.count(name, "rejected")
            part.findings += [] if row.why is None else [row.why]
        elif self._is_current(record):
            part.count(name, "unchanged")
        elif key_text(row.key) in done:
            part.count(name, "kept")
            message = "was saved in the old form again after this run had upgraded it; run the upgrade again"
            part.findings.append(warning(f"{name} {key_text(row.key)}", message))
        else:
            part.count(name, "replaced")
            new = self._versions.upcast(record)
            return Outcome(Entry(place=(), record=new), "replaced", row, new, ())
        return None

    def _is_current(self, record: Record) -> bool:
        return self._versions.upcast(record) is record

    def _changed_by(self, run: Run, batch: list[Record]) -> set[str]:
        """Return the keys of a batch whose rows a run has replaced before it was interrupted."""
        changes = Change.objects.filter(run=run, domain=self._store.domain.name, kind=self._kind.plural)
        return set(changes.filter(key__in=[key_text(one.key) for one in batch]).values_list("key", flat=True))
