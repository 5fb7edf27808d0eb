"""Removes records by hand. Each becomes a tombstone first, in the same transaction, so that it can be restored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orbsite.models.ledger import Run
from orbsite.operations.batched import batched
from orbsite.operations.ledger.manual_changes import Actor, ManualChanges
from orbsite.operations.report import Report
from orbsite.storage.base.preconditions import refuse_unexpected
from orbsite.storage.errors import RecordUnreadable
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import Key, Record
from orbsite.storage.sql.retry import TransactionRetry
from orbsite.storage.sql.store import SqlStore

COLUMNS = ("removed", "missing")
BY_HAND = "removed by hand"
_BATCH = 500


def remove(
    store: SqlStore,
    kind: type[Record],
    keys: Iterable[Key],
    *,
    hand: Actor,
    expect: str | None = None,
    still: Mapping[Key, str] | None = None,
) -> Report:
    """Remove the records with these keys, all or nothing, in one run.

    `expect` is the digest of a single record (Conflict). With `still`, the digests of all, a record that has changed
    since stays, and counts as missing. A row that does not decode could not be restored (RecordUnreadable): repair it
    first.
    """
    wanted, reason = sorted(set(keys)), hand.reason or BY_HAND
    if expect is not None and len(wanted) != 1:
        raise ValueError("expect needs exactly one key")

    def act() -> Report:
        notes = ManualChanges(store, kind, Run.Operation.REMOVE, hand, COLUMNS)
        for batch in batched(wanted, _BATCH):
            rows = store.rows(kind, batch, lock=True)
            if expect is not None:
                refuse_unexpected(next((row.record for row in rows.values()), None), expect)
            if still is not None:
                rows = {key: row for key, row in rows.items() if row.record and digest(row.record) == still[key]}
            unreadable = sum(row.record is None for row in rows.values())
            if unreadable:
                raise RecordUnreadable(
                    f"{unreadable} of the rows do not decode and could not be restored; nothing was removed. "
                    "Repair them first, each on its page, or leave them out"
                )
            notes.keep([notes.change(key, row, None, reason) for key, row in rows.items()])
            removed = store.delete(kind, list(rows))
            notes.section.count(kind.plural, "removed", removed)
            notes.section.count(kind.plural, "missing", len(batch) - removed)
        return notes.done()

    return TransactionRetry(store.using).run(act)
