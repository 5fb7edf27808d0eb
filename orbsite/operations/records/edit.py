"""Edits records by hand. The ledger keeps who changed a record, when and why, with its previous state.

An edit is a run of its own. It and its ledger rows are in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from orbsite.models.ledger import Change, Run
from orbsite.operations.batched import batched
from orbsite.operations.ledger.manual_changes import Actor, ManualChanges, stamped, step_text
from orbsite.operations.report import Report
from orbsite.storage.base.preconditions import refuse_other_owner, refuse_unexpected
from orbsite.storage.base.store import Placed, StoredRecord
from orbsite.storage.errors import Conflict, OwnerConflict
from orbsite.storage.records.changes import Put
from orbsite.storage.records.decoder import checked
from orbsite.storage.records.record import Key, R, Record
from orbsite.storage.sql.retry import TransactionRetry
from orbsite.storage.sql.store import SqlStore

COLUMNS = ("changed", "unchanged", "missing")
_BATCH = 500


def edit(
    store: SqlStore,
    record: Record,
    *,
    hand: Actor,
    expect: str | None = None,
    free: bool = False,
    stamp: bool = True,
    position: int | None = None,
) -> Report:
    """Load and lock a row, check it, write the record in its place, and log the change, in one transaction.

    An equal record is not written. `expect` is the digest of the record to replace; with `free` there must be none
    (Conflict). With `stamp`, the time of change of the record, where it has one, becomes that of `hand`. A row that
    does not decode is replaced, and so repaired. `position` is the place in the list at which to restore the record.
    """
    kind, record = type(record), checked(record)

    def act() -> Report:
        notes = ManualChanges(store, kind, Run.Operation.EDIT, hand, COLUMNS)
        row = store.rows(kind, [record.key], lock=True).get(record.key)
        old = None if row is None else row.record
        if row is not None and free:
            raise Conflict("its key is taken; nothing was written. Open that record, or choose another key")
        refuse_other_owner(record, old)
        refuse_unexpected(old, expect)
        if old is not None and _is_equal(record, old):
            notes.count("unchanged")
            return notes.done()
        wanted = stamped(record, hand.at) if stamp and old is not None else record
        change = notes.change(record.key, row, wanted)
        if row is None:
            store.put([wanted], free=True)  # no lock keeps a free key free
        else:
            _replace(store, [(wanted, _position(row, wanted) if position is None else position)])
        notes.keep([change])
        notes.count("changed")
        return notes.done()

    return TransactionRetry(store.using).run(act)


def edit_each(
    store: SqlStore, kind: type[R], keys: Iterable[Key], change: Callable[[R], R], *, hand: Actor, stamp: bool = True
) -> Report:
    """Change each record that exists, all or nothing. A row that does not decode counts as missing.

    All changes are one run. A record that `change` returns unchanged is not written. Raises InvalidRecord.
    """
    wanted = sorted(set(keys))

    def act() -> Report:
        notes = ManualChanges(store, kind, Run.Operation.EDIT, hand, COLUMNS)
        for batch in batched(wanted, _BATCH):
            rows = store.rows(kind, batch, lock=True)
            changes: list[Change] = []
            changed: list[Placed] = []
            for key in batch:
                row = rows.get(key)
                if row is None or row.record is None:
                    notes.count("missing")
                    continue
                new: Record = checked(change(row.record))
                if _is_equal(new, row.record):
                    notes.count("unchanged")
                    continue
                new = stamped(new, hand.at) if stamp else new
                notes.count("changed")
                changes.append(notes.change(key, row, new))
                changed.append((new, _position(row, new)))
            _replace(store, changed)
            notes.keep(changes)
        return notes.done()

    return TransactionRetry(store.using).run(act)


def _replace(store: SqlStore, records: list[Placed]) -> None:
    """Write checked records over rows that this transaction has locked."""
    try:
        store.load(records, None)
    except OwnerConflict as problem:  # a row that does not decode shows its owner only now
        raise OwnerConflict("the row belongs to another user, and the owner of a record cannot change") from problem


def _position(row: StoredRecord[Any], record: Record) -> int | None:
    """Return the position of a row, or None if the record moves to another list."""
    return None if row.record is not None and record.moves_from(row.record) else row.position


def _is_equal(record: Record, old: Record) -> bool:
    return step_text(Put(record)) == step_text(Put(old))
