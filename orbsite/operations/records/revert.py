"""Reverts one change of a record: restores the previous state, as an edit of its own."""

from __future__ import annotations

import msgspec

from orbsite.models.ledger import Change
from orbsite.operations.ledger.erasure_list import known
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.ledger.tombstones import REMOVALS
from orbsite.operations.records.delete import remove
from orbsite.operations.records.edit import edit
from orbsite.operations.records.undelete import undelete
from orbsite.operations.report import Report
from orbsite.storage.base.erasures import ERASED
from orbsite.storage.errors import Conflict, OrbError
from orbsite.storage.records.changes import Delete, StepReader
from orbsite.storage.sql.store import SqlStore


def revert(store: SqlStore, change: Change, *, hand: Actor, expect: str | None) -> Report:
    """Restore the state before a change: the previous record, or its absence.

    `expect` is the digest of the current record, None where there is none (Conflict). A removed record is restored from
    its tombstone. Raises OrbError where the previous state does not decode.
    """
    step = next(StepReader(store.domain).read([msgspec.Raw(change.before.encode())]))
    if isinstance(step, Delete):
        if expect is None:
            raise Conflict(
                "another record may have taken its key since the page was opened; check the current record, then retry"
            )
        return remove(store, step.kind, [step.key], hand=hand, expect=expect)
    kind = type(step.record)
    if known(using=store.using).covers(step.record):
        raise OrbError(f"{ERASED}, and records saved before that are not restored; nothing was changed")
    if expect is not None:
        return edit(store, step.record, hand=hand, expect=expect, position=change.before_position)
    if change.run.operation not in REMOVALS:
        return edit(store, step.record, hand=hand, free=True)
    report = undelete(store, kind, [change.pk], hand=hand)
    if not report.ok:
        raise OrbError("another record has taken its key since; nothing was restored. Check that record")
    return report
