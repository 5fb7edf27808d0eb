"""Restores the records that a compaction or a removal deleted, while its tombstones are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from orbsite.models.ledger import Change, Run, RunState
from orbsite.operations.ledger.change_log import ChangeLog, record_name
from orbsite.operations.ledger.detached_partitions import put_back as put_back_partitions
from orbsite.operations.ledger.erasure_list import known
from orbsite.operations.ledger.runs import alone, begin, recorded
from orbsite.operations.progress import Progress, Stopped, silent
from orbsite.operations.report import Report, Section
from orbsite.storage.base.erasures import ERASED, ErasureList
from orbsite.storage.base.store import Store
from orbsite.storage.errors import OrbError
from orbsite.storage.file.retention import put_back, tombstones_of
from orbsite.storage.findings import warning
from orbsite.storage.records.changes import Put, StepReader
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import Extra, Record
from orbsite.storage.retention.plan import Returned, Tombstone
from orbsite.storage.sql.models import StoredJSON
from orbsite.storage.sql.retry import TransactionRetry
from orbsite.storage.sql.store import SqlStore

COLUMNS = ("restored", "present", "kept")
UNDO = Run.Operation.UNDO.value
REMOVALS = (Run.Operation.COMPACT.value, Run.Operation.REMOVE.value)
"""The operations that leave tombstones."""
_BATCH = 1000


def undo(run: str, stores: list[Store], *, now: Callable[[], datetime], progress: Progress = silent) -> Report:
    """Restore what a run has removed. `run` is its number in SQL, or the name of its tombstone file.

    Each record is restored equal field by field, at its place, if its key is still free. A record that has taken the
    key since is kept and listed. A second call resumes an interrupted one. Raises OrbError where the run is unknown.
    """
    report = Report(columns=COLUMNS, bad=("kept",))
    in_sql = [SqlStore(store.domain, store.database) for store in stores if store.database is not None]
    others: list[Any] = [store for store in stores if store.database is None]
    for store in stores:
        report.section_of(store.domain)
    if others:
        found = [(store, list(tombstones_of(store, run))) for store in others]
        if not any(tombstones for _, tombstones in found):
            raise OrbError(f"{run!r} has no tombstones of {', '.join(store.domain.name for store in others)}")
        for store, tombstones in found:
            _put_back(store, tombstones, report.domains[store.domain.name], partial(known, store.base))
            progress(len(tombstones))
    if in_sql:
        _undo_in_sql(_find(run), in_sql, report, now, progress)
    return report


def _put_back(
    store: Any, tombstones: list[Tombstone | str], section: Section, erasures: Callable[[], ErasureList]
) -> None:
    for path in (one for one in tombstones if isinstance(one, str)):
        section.findings.append(
            warning(path, "is no record; its JSON is in the tombstone file, to be put back by hand")
        )
    records = [one for one in tombstones if isinstance(one, Tombstone)]
    if records:
        tell(section, put_back(store, records, erasures))


def _find(name: str) -> Run:
    run = Run.objects.filter(pk=int(name)).first() if name.isdecimal() else None
    if run is None or run.operation not in REMOVALS:
        raise OrbError(f"there is no compaction or removal {name!r} in the ledger; the admin lists all runs")
    return run


def _undo_in_sql(
    undone: Run, stores: list[SqlStore], report: Report, now: Callable[[], datetime], progress: Progress
) -> None:
    with alone():
        run = begin(UNDO, f"run {undone.pk}", {}, now(), report, reverts=undone, anew=("kept",))
        with recorded(run, report, now):
            for store in stores:
                change_log = ChangeLog(run, report, store.domain)
                section = report.domains[store.domain.name]
                put_back_partitions(store, undone.pk, section, progress)
                TombstoneRestore(store).all(undone, section, progress, change_log)
            if not sum(section.total("kept") for section in report.domains.values()):
                Run.objects.filter(pk=undone.pk).update(state=RunState.ROLLED_BACK)


class TombstoneRestore:
    """Restores records from tombstones in one store, a batch per transaction, and deletes the used tombstones."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._kinds = {kind.plural: kind for kind in store.domain.kinds}
        self._steps = StepReader(store.domain)
        self._erasures = known(using=store.using)

    def all(self, run: Run, section: Section, progress: Progress, change_log: ChangeLog) -> None:
        """Restore everything that a run has removed. The counts of a batch are saved in its transaction."""
        tombstones = Change.objects.using(self._store.using).filter(run_id=run.pk)
        tombstones = tombstones.filter(domain=self._store.domain.name).exclude(reason="").order_by("pk")
        progress.expect(tombstones.count())
        after, attempts = 0, TransactionRetry(self._store.using)
        with progress.heeded():
            while batch := list(tombstones.filter(pk__gt=after)[:_BATCH]):
                section.take(attempts.run(partial(self._noted, batch, section, change_log, change_log.done)))
                progress(len(batch))
                after = batch[-1].pk
                if progress.is_stopping:
                    raise Stopped("interrupted; the records restored so far are kept. Run it again to continue")

    def _noted(self, batch: list[Change], section: Section, change_log: ChangeLog, done: int) -> Section:
        part = Section()
        for one in self.batch(batch):
            tell(part, one)
        change_log.note((), section, part, done + len(batch) - change_log.done)  # a retry may have raised it
        return part

    def batch(self, batch: list[Change]) -> list[Returned]:
        """Restore the records of these tombstones, kind by kind, in the caller's transaction."""
        return [
            self._of_kind(kind, [change for change in batch if change.kind == name])
            for name, kind in self._kinds.items()
        ]

    def _of_kind(self, kind: type[Record], changes: list[Change]) -> Returned:
        found, done = Returned(), list[int]()
        free: dict[int | None, list[tuple[Record, int | None]]] = {}
        records = {change.pk: _record(self._steps, change) for change in changes}
        rows = self._store.rows(kind, [record.key for record in records.values() if record], lock=True)
        for change in changes:
            record = records[change.pk]
            if record is None:
                found.lost.append((kind, change.key))
                continue
            tombstone, row = Tombstone(record, change.reason, change.before_position), rows.get(record.key)
            if self._erasures.covers(record):
                found.kept.append((tombstone, ERASED))
                continue
            if row is not None and row.record != record:
                found.kept.append((tombstone, "its key was taken again since"))
                continue
            done.append(change.pk)
            if row is not None:
                found.present.append(tombstone)
                continue
            found.restored.append(tombstone)
            is_as_left = digest(record) == change.after
            free.setdefault(change.before_run if is_as_left else None, []).append((record, change.before_position))
        for run, group in free.items():
            batch = self._store.make_batch(kind, [record for record, _ in group], [position for _, position in group])
            self._store.insert(batch, range(len(group)), run)
        Change.objects.using(self._store.using).filter(pk__in=done).delete()
        return found


def _record(steps: StepReader, change: Change) -> Record | None:
    """Return the record of a tombstone, or None. Numbers under unknown keys are as the row had them."""
    try:
        step = next(steps.read([msgspec.Raw(change.before.encode())]))
    except OrbError:
        return None
    if not isinstance(step, Put):
        return None
    extra = json.loads(change.before, cls=StoredJSON).get("extra") if step.record.extra else None
    return msgspec.structs.replace(step.record, extra=Extra(extra)) if extra else step.record


def tell(section: Section, found: Returned) -> None:
    """Count the restored records, and list the others."""
    for tombstone in found.restored:
        section.count(type(tombstone.record).plural, "restored")
    for tombstone in found.present:
        section.count(type(tombstone.record).plural, "present")
    for lost, key in found.lost:
        section.count(lost.plural, "kept")
        section.findings.append(warning(f"{lost.plural} {key}", "its tombstone does not decode; it was kept"))
    for tombstone, why in found.kept:
        record = tombstone.record
        section.count(record.plural, "kept")
        section.findings.append(warning(record_name(type(record), record.key), f"{why}; that was kept"))
