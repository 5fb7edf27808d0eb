"""Runs in the ledger: how a run begins, resumes and ends."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeAlias

from django.db import DatabaseError, connections, transaction

from orbsite.models.ledger import Run, RunState
from orbsite.operations.ledger.run_lock import alone, alone_over
from orbsite.operations.report import Report
from orbsite.storage.database_errors import refusal
from orbsite.storage.errors import OrbError

__all__ = ["AtEnd", "alone", "alone_over", "begin", "counts_of", "last_complete", "recorded"]

AtEnd: TypeAlias = Callable[[Run, Report], None]
_UNFINISHED = (RunState.RUNNING, RunState.INTERRUPTED, RunState.FAILED)


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
    """Return the interrupted run of this operation over this source, to resume it, or else a new run.

    Call it while no other run is active: a run that is still marked as running has died then. With `resume` there is no
    new run: raises OrbError where no run was interrupted or the source has changed since. The report starts with the
    counts of the run, except those in `anew`, which each run counts from the beginning.
    """
    digest = hashlib.sha256("\n".join(f"{name}:{one}" for name, one in sorted(sources.items())).encode()).hexdigest()
    unfinished = Run.of_source(name).filter(operation=operation, state__in=_UNFINISHED)
    stopped = unfinished.filter(reverted_by=None).order_by("-id").first()  # its rows still exist
    if stopped is not None and stopped.source_digest == digest and stopped.cursor:
        stopped.state = RunState.RUNNING
        stopped.save(update_fields=["state"])
        for domain, kinds in stopped.counts.items():
            report.section(domain, ()).counts = {
                kind: Counter({what: number for what, number in counts.items() if what not in anew})
                for kind, counts in kinds.items()
            }
        return stopped
    if resume:
        why = "no run was interrupted" if stopped is None else "the files have changed since"
        raise OrbError(f"there is no run over {name} to resume: {why}; run it without --resume")
    unfinished.filter(state=RunState.RUNNING).update(state=RunState.FAILED)
    return Run.objects.create(
        operation=operation,
        source=name,
        source_digest=digest,
        sources=sources,
        started_at=moment,
        reverts=reverts,
    )


def last_complete(name: str) -> Run | None:
    """Return the last migration of a source if it is complete and verified, and if no rollback followed."""
    last = Run.of_source(name).filter(operation=Run.Operation.MIGRATE).order_by("-id").first()
    if last is None or last.state != RunState.COMPLETE:
        return None
    if any(counts.get("unverified") for kinds in last.counts.values() for counts in kinds.values()):
        return None
    return None if Run.objects.filter(pk__gt=last.pk, operation=Run.Operation.ROLLBACK).exists() else last


@contextlib.contextmanager
def recorded(
    run: Run, report: Report, now: Callable[[], datetime], *, at_end: AtEnd = lambda _run, _report: None
) -> Iterator[None]:
    """Add a run to its report, and record in the ledger how it ends. Its batches are recorded already.

    `at_end` is called in the transaction that completes the run; if it raises an error, the run is not complete.
    """
    report.run = run.pk
    try:
        yield
        with transaction.atomic():
            run.state, run.finished_at, run.counts = RunState.COMPLETE, now(), counts_of(report)
            at_end(run, report)
            run.save(update_fields=["state", "finished_at", "counts"])
    except BaseException as problem:
        state = RunState.INTERRUPTED if isinstance(problem, KeyboardInterrupt) else RunState.FAILED
        with contextlib.suppress(OrbError, DatabaseError):  # it stays marked as running, which the next run handles
            _end_early(run, state, now())
        refused_by = refusal(problem) if isinstance(problem, DatabaseError) else None
        if refused_by is not None:
            raise refused_by from problem
        raise


def _end_early(run: Run, state: str, moment: datetime) -> None:
    """Record that a run ended early; after a broken connection, only if no other process has resumed the run."""
    connection = connections["default"]
    with contextlib.ExitStack() as stack:
        if connection.vendor == "postgresql" and (connection.connection is None or not connection.is_usable()):
            connection.close()
            stack.enter_context(alone())
        Run.objects.filter(pk=run.pk, state=RunState.RUNNING).update(state=state, finished_at=moment)


def counts_of(report: Report) -> dict[str, dict[str, dict[str, int]]]:
    """Return a report's counts by domain and kind."""
    return {
        name: {kind: dict(counts) for kind, counts in section.counts.items()}
        for name, section in report.domains.items()
    }
