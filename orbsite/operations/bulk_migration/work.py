"""A worker of a bulk migration: claims one directory after the other, and migrates and verifies it in a run of its own.

A run holds the lock of its directory, so that two workers never write for one directory at the same time, and it is
completed in the transaction that completes the claim. If its worker dies, another one resumes the same run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

from typing_extensions import override

from orbsite.models.bulk_migrations import UNFINISHED, BulkDirectory, BulkMigration, name_of
from orbsite.models.ledger import Run
from orbsite.operations.bulk_migration import claims
from orbsite.operations.bulk_migration.begin import options_of
from orbsite.operations.bulk_migration.claims import Claim, ClaimLost
from orbsite.operations.bulk_migration.patience import patiently, pause
from orbsite.operations.bulk_migration.status import status
from orbsite.operations.ledger.runs import alone_over
from orbsite.operations.migration.file_source import DocumentsSnapshot
from orbsite.operations.migration.peers import Peers
from orbsite.operations.migration.run import Transfer
from orbsite.operations.progress import Progress, Stopped, silent
from orbsite.operations.report import Report
from orbsite.operations.workers.heartbeat import SECONDS, MonitoredProgress, heartbeat
from orbsite.operations.workers.workers import STALE_AFTER, a_name_with_place, told

_PAUSE = 0.5
"""The pause in seconds of a worker that waits for directories that others have."""


def work(
    bulk: BulkMigration,
    *,
    now: Callable[[], datetime],
    worker: str = "",
    stale_after: timedelta = STALE_AFTER,
    beat: float = SECONDS,
    waits: bool = False,
    progress: Progress = silent,
) -> Report:
    """Migrate the directories that no other worker has, and report the state of all.

    A directory that fails does not stop the others, and is tried again later. With `waits`, the worker stays until no
    directory is left, and takes over those whose workers die; otherwise it ends when none waits. Raises Stopped on
    request; the directory that it has is resumed later.
    """
    one = _Worker(bulk, now, worker or a_name_with_place(), stale_after, beat, progress)
    progress.expect(BulkDirectory.objects.filter(bulk=bulk, state__in=UNFINISHED).count())
    with progress.heeded():
        while True:
            claim = claims.take(bulk, one.name, now(), stale_after)
            if claim is not None:
                progress(int(one.migrate(claim)))
            elif not waits or claims.is_finished(bulk):
                return status(bulk)
            else:
                pause(_PAUSE)
            if progress.is_stopping:
                raise Stopped(f"interrupted; what {bulk} has done is kept. Run it again to continue")


class _OwnStop(Progress):
    """Passes on the requests to stop a worker, to the run of one directory."""

    def __init__(self, under: Progress) -> None:
        self._under = under

    @property
    def is_stopping(self) -> bool:  # type: ignore[override]
        """Whether the worker is to end."""
        return self._under.is_stopping

    @override
    def heeded(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()


@dataclass(frozen=True)
class _Worker:
    bulk: BulkMigration
    now: Callable[[], datetime]
    name: str
    stale_after: timedelta
    beat: float
    progress: Progress

    def migrate(self, claim: Claim) -> bool:
        """Migrate a claimed directory, and return whether it is done. Raises Stopped on request."""
        try:
            self._run(claim)
        except ClaimLost:
            return False
        except Exception as problem:  # noqa: BLE001 -- a directory must not stop the others
            claim.give_up(told(problem), self.now())
        except BaseException as problem:
            claim.put_back()
            if self.progress.is_stopping or not isinstance(problem, Stopped):
                raise
        else:
            return True
        return False

    def _run(self, claim: Claim) -> None:
        watched, path = MonitoredProgress(_OwnStop(self.progress)), claim.directory.path
        options, source = options_of(self.bulk), name_of(path)
        with contextlib.ExitStack() as stack:
            stack.enter_context(heartbeat(watched, claim.beat, self.now, seconds=self.beat))
            patiently(lambda: stack.enter_context(alone_over(source)), watched)
            transfer = Transfer(
                DocumentsSnapshot(options.domains, path),
                options.domains,
                Run.Operation.RETRY if options.only_rejected else Run.Operation.MIGRATE,
                now=self.now,
                progress=watched,
                peers=Peers(self.bulk.name, source),
            )
            transfer.run(
                incremental=options.incremental,
                lock=contextlib.nullcontext,
                at_end=lambda run, report: claim.complete(run, report, self.now()),
            )
