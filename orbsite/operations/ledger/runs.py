"""Runs in the ledger: how one begins, goes on where an earlier one stopped, and ends."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from django.db import DatabaseError, connections

from orbsite.models.ledger import Run
from orbsite.operations.ledger.run_lock import alone
from orbsite.operations.report import Report
from orbsite.storage.database_errors import refusal
from orbsite.storage.errors import OrbError

__all__ = ["alone", "begin", "counts_of", "last_complete", "recorded"]

_UNFINISHED = (Run.State.RUNNING, Run.State.INTERRUPTED, Run.State.FAILED)


def begin(
    operation: str,
    name: str,
    sources: dict[str, str],
    moment: datetime,
    report: Report,
    *,
    resume: bool = False,
    reverts: Run | None = None,
    anew: tuple[str, ...] = (),
) -> Run:
    """Return the run of this operation over this source that stopped half way, to go on with it, or else a new one.

    Only while no other run is under way: one that says that it runs has died then. With `resume`, never a new one:
    raises OrbError where none stopped, or the source has changed since. The report goes on with the counts of the run,
    but for those in `anew`, which a run counts from the beginning each time.
    """
    digest = hashlib.sha256("\n".join(f"{name}:{one}" for name, one in sorted(sources.items())).encode()).hexdigest()
    unfinished = Run.objects.filter(operation=operation, source=name, state__in=_UNFINISHED)
    stopped = unfinished.filter(reverted_by=None).order_by("-id").first()  # whose rows are there still
    if stopped is not None and stopped.source_digest == digest and stopped.cursor:
        stopped.state = Run.State.RUNNING
        stopped.save(update_fields=["state"])
        for domain, kinds in stopped.counts.items():
            report.section(domain, ()).counts = {
                kind: Counter({what: number for what, number in counts.items() if what not in anew})
                for kind, counts in kinds.items()
            }
        return stopped
    if resume:
        why = "none stopped half way" if stopped is None else "the files have changed since"
        raise OrbError(f"there is no run over {name} to go on with: {why}; run it without --resume")
    Run.objects.filter(operation=operation, source=name, state=Run.State.RUNNING).update(state=Run.State.FAILED)
    return Run.objects.create(
        operation=operation,
        source=name,
        source_digest=digest,
        sources=sources,
        started_at=moment,
        reverts=reverts,
    )


def last_complete(name: str) -> Run | None:
    """Return the last run that moved everything from a source, and found it there, unless one was rolled back since."""
    last = Run.objects.filter(source=name, operation=Run.Operation.MIGRATE).order_by("-id").first()
    if last is None or last.state != Run.State.COMPLETE:
        return None
    if any(counts.get("unverified") for kinds in last.counts.values() for counts in kinds.values()):
        return None
    return None if Run.objects.filter(pk__gt=last.pk, operation=Run.Operation.ROLLBACK).exists() else last


@contextlib.contextmanager
def recorded(run: Run, report: Report, now: Callable[[], datetime]) -> Iterator[None]:
    """Name a run in its report, and note in the ledger how it ends; what its batches did is there already."""
    report.run = run.pk
    try:
        yield
    except BaseException as problem:
        state = Run.State.INTERRUPTED if isinstance(problem, KeyboardInterrupt) else Run.State.FAILED
        with contextlib.suppress(OrbError, DatabaseError):  # it stays as running then, which the next run understands
            _end_early(run, state, now())
        refused_by = refusal(problem) if isinstance(problem, DatabaseError) else None
        if refused_by is not None:
            raise refused_by from problem
        raise
    run.state, run.finished_at, run.counts = Run.State.COMPLETE, now(), counts_of(report)
    run.save(update_fields=["state", "finished_at", "counts"])


def _end_early(run: Run, state: str, moment: datetime) -> None:
    """Note that a run did not come to its end; where its connection broke, only if nobody goes on with it already."""
    connection = connections["default"]
    with contextlib.ExitStack() as stack:
        if connection.vendor == "postgresql" and (connection.connection is None or not connection.is_usable()):
            connection.close()
            stack.enter_context(alone())
        Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).update(state=state, finished_at=moment)


def counts_of(report: Report) -> dict[str, dict[str, dict[str, int]]]:
    """Return a report's counts by domain and kind."""
    return {
        name: {kind: dict(counts) for kind, counts in section.counts.items()}
        for name, section in report.domains.items()
    }
