"""Runs in the ledger: how one begins, goes on where an earlier one stopped, and ends; one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from django.db import DatabaseError, connections

from orbsite.models import Run
from orbsite.operations.report import Report
from orbsite.storage.errors import LockTimeout, OrbError

_LOCK = 0x6F72625F72756E73
"""The number of PostgreSQL's advisory lock: "orb_runs"."""
_UNFINISHED = (Run.State.RUNNING, Run.State.INTERRUPTED, Run.State.FAILED)

_in_memory = threading.Lock()


@contextlib.contextmanager
def alone(using: str = "default") -> Iterator[None]:
    """Keep every other run out that writes to the same database. Raises LockTimeout where one is under way."""
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
            _refuse_unless(bool(cursor.fetchone()[0]))
        try:
            yield
        finally:
            if connection.connection is not None and connection.is_usable():  # or the server has freed it itself
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
        return
    name = str(connection.settings_dict["NAME"])
    if "memory" in name:
        _refuse_unless(_in_memory.acquire(blocking=False))
        try:
            yield
        finally:
            _in_memory.release()
        return
    descriptor = os.open(Path(f"{name}.runs.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _refuse_unless(is_free=False)
        yield
    finally:
        os.close(descriptor)


def begin(
    operation: str,
    name: str,
    sources: dict[str, str],
    moment: datetime,
    report: Report,
    *,
    resume: bool = False,
    reverts: Run | None = None,
) -> Run:
    """Return the run of this operation over this source that stopped half way, to go on with it, or else a new one.

    Only while no other run is under way: one that says that it runs has died then. With `resume`, never a new one:
    raises OrbError where none stopped, or the source has changed since.
    """
    digest = hashlib.sha256("\n".join(f"{name}:{one}" for name, one in sorted(sources.items())).encode()).hexdigest()
    unfinished = Run.objects.filter(operation=operation, source=name, state__in=_UNFINISHED)
    stopped = unfinished.filter(reverted_by=None).order_by("-id").first()  # whose rows are there still
    if stopped is not None and stopped.source_digest == digest and stopped.cursor:
        stopped.state = Run.State.RUNNING
        stopped.save(update_fields=["state"])
        for domain, kinds in stopped.counts.items():
            report.section(domain, ()).counts = {kind: Counter(counts) for kind, counts in kinds.items()}
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
    last = Run.objects.filter(source=name, operation="migrate").order_by("-id").first()
    if last is None or last.state != Run.State.COMPLETE:
        return None
    if any(counts.get("unverified") for kinds in last.counts.values() for counts in kinds.values()):
        return None
    return None if Run.objects.filter(pk__gt=last.pk, operation="rollback").exists() else last


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


def _refuse_unless(is_free: bool) -> None:
    if not is_free:
        raise LockTimeout("another run writes to this database; wait for it to end, then try again")
