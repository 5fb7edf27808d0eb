"""Restores removed records by hand, while their tombstones are kept."""

from __future__ import annotations

from collections.abc import Iterable

from orbsite.models.ledger import Change, Run, RunState
from orbsite.operations.ledger.manual_changes import Actor, ManualChanges
from orbsite.operations.ledger.tombstones import COLUMNS, REMOVALS, TombstoneRestore, tell
from orbsite.operations.report import Report
from orbsite.storage.records.record import Record
from orbsite.storage.sql.retry import TransactionRetry
from orbsite.storage.sql.store import SqlStore


def undelete(store: SqlStore, kind: type[Record], tombstones: Iterable[int], *, hand: Actor) -> Report:
    """Restore the records of one kind from the tombstones with these numbers, all in one transaction.

    Each record is restored equal field by field, at its place, if its key is still free. A record that has taken the
    key since is kept and listed. The restored records have the change in their history.
    """
    numbers = sorted(set(tombstones))

    def act() -> Report:
        notes = ManualChanges(store, kind, Run.Operation.RESTORE, hand, COLUMNS)
        notes.report.bad = ("kept",)
        found = Change.objects.using(store.using).filter(pk__in=numbers, run__operation__in=REMOVALS)
        found = found.filter(domain=store.domain.name, kind=kind.plural).exclude(reason="").order_by("pk")
        changes = list(found)
        for returned in TombstoneRestore(store).batch(changes):
            tell(notes.section, returned)
            notes.keep(notes.change(one.record.key, None, one.record) for one in returned.restored)
        _mark_undone(store.using, {change.run_id for change in changes})
        return notes.done()

    return TransactionRetry(store.using).run(act)


def _mark_undone(using: str, runs: set[int]) -> None:
    """Mark the runs that have no tombstones left as rolled back."""
    for run in runs:
        if not Change.objects.using(using).filter(run_id=run).exclude(reason="").exists():
            Run.objects.using(using).filter(pk=run).update(state=RunState.ROLLED_BACK)
