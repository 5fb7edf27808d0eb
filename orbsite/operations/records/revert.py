"""Takes one change of a record back: what was there before it is put there again, as an edit of its own."""

from __future__ import annotations

import msgspec

from orbsite.models.ledger import Change
from orbsite.operations.ledger.erasure_list import known
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.ledger.tombstones import REMOVALS
from orbsite.operations.records.delete import remove
from orbsite.operations.records.edit import edit
from orbsite.operations.records.undelete import bring_back
from orbsite.operations.report import Report
from orbsite.storage.base.erasures import ERASED
from orbsite.storage.errors import Conflict, OrbError
from orbsite.storage.records.changes import Delete, StepReader
from orbsite.storage.sql.store import SqlStore


def revert(store: SqlStore, change: Change, *, hand: Actor, expect: str | None) -> Report:
    """Put back what was there before a change: the record, or, where there was none, nothing.

    `expect` is the digest of what is there now, None where nothing is (Conflict). What was removed comes back from its
    tombstone. Raises OrbError for what does not decode.
    """
    step = next(StepReader(store.domain).read([msgspec.Raw(change.before.encode())]))
    if isinstance(step, Delete):
        if expect is None:
            raise Conflict(
                "something may have its key since the page was opened; look at what is there now, then retry"
            )
        return remove(store, step.kind, [step.key], hand=hand, expect=expect)
    kind = type(step.record)
    if known(using=store.using).covers(step.record):
        raise OrbError(f"{ERASED}, and what was saved up to then does not come back; nothing was changed")
    if expect is not None:
        return edit(store, step.record, hand=hand, expect=expect, position=change.before_position)
    if change.run.operation not in REMOVALS:
        return edit(store, step.record, hand=hand, free=True)
    report = bring_back(store, kind, [change.pk], hand=hand)
    if not report.ok:
        raise OrbError("its key was taken again since; nothing was brought back. Look at what has it now")
    return report
