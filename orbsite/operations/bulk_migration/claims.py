"""Claims on the directories of a bulk migration: each is held by one worker, kept alive by heartbeats, and numbered.

waiting ─→ running ─→ done | failed. A claim is one conditional UPDATE, which raises the directory's claim number. A
worker that was thought dead has an older number, with which it can neither finish the directory nor put it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Q

from orbsite.models.bulk_migrations import UNFINISHED, BulkDirectory, BulkMigration, DirectoryState
from orbsite.models.ledger import Run
from orbsite.operations.report import Report
from orbsite.operations.workers.heartbeat import MonitoredProgress
from orbsite.operations.workers.workers import brief, is_gone
from orbsite.storage.errors import OrbError
from orbsite.storage.sql.retry import TransactionRetry

MOST_TRIES = 5
"""How many times workers begin with a directory before it counts as failed."""
_CANDIDATES = 8
_FIRST_DELAY = timedelta(seconds=1)


class ClaimLost(OrbError):
    """Another worker has taken the directory over, because this one sent no heartbeat; nothing was completed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A directory that a worker has claimed."""

    directory: BulkDirectory
    """The directory before the claim."""
    number: int

    @property
    def _row(self) -> Any:
        return BulkDirectory.objects.filter(pk=self.directory.pk, claim=self.number, state=DirectoryState.RUNNING)

    def beat(self, moment: datetime, watched: MonitoredProgress) -> bool:
        """Save a heartbeat and the progress. Return whether the claim still holds."""
        return bool(self._row.update(heartbeat=moment, progress=watched.done, expected=watched.expected))

    def complete(self, run: Run, report: Report, moment: datetime) -> None:
        """Save the result of a run, in the transaction that completes the run. Raises ClaimLost."""
        sections = list(report.domains.values())
        read, new, replaced, rejected, unverified = (
            sum(section.total(what) for section in sections)
            for what in ("read", "new", "replaced", "rejected", "unverified")
        )
        done = self._row.update(
            state=DirectoryState.DONE,
            run=run,
            read=read,
            written=new + replaced,
            problems=rejected + unverified,
            result=brief(report),
            error="",
            progress=read,
            finished_at=moment,
        )
        if not done:
            raise ClaimLost(f"another worker has taken over {self.directory.name}; its run is resumed there")

    def give_up(self, error: str, moment: datetime) -> bool:
        """Save an error: the directory waits for its next try, or has failed after the last one.

        Return whether the claim still held.
        """
        tries = self.directory.tries + 1
        if tries >= MOST_TRIES:
            ended: dict[str, Any] = {"state": DirectoryState.FAILED, "finished_at": moment}
        else:
            ended = {"state": DirectoryState.WAITING, "not_before": moment + _FIRST_DELAY * 2 ** (tries - 1)}
        return bool(TransactionRetry("default").run(lambda: self._row.update(error=error, **ended)))

    def put_back(self) -> bool:
        """Let the directory wait again, as if it had not been claimed. Return whether the claim still held."""
        before = {"state": DirectoryState.WAITING, "tries": self.directory.tries, "not_before": None}
        return bool(TransactionRetry("default").run(lambda: self._row.update(**before)))


def take(bulk: BulkMigration, worker: str, now: datetime, stale_after: timedelta) -> Claim | None:
    """Claim a directory: of a dead worker first, else the next that waits. None: there is none at this moment."""
    while candidates := [*dead(bulk, now, stale_after), *_waiting(bulk, now)]:
        for directory in candidates:
            claim = TransactionRetry("default").run(lambda one=directory: _claim(one, worker, now))  # type: ignore[misc]
            if claim is not None:
                return claim
    return None


def dead(bulk: BulkMigration, now: datetime, stale_after: timedelta) -> Iterator[BulkDirectory]:
    """Yield the directories whose workers have sent no heartbeat for too long, or have ended on this host."""
    running = BulkDirectory.objects.filter(bulk=bulk, state=DirectoryState.RUNNING).defer("result")
    for directory in running:
        if directory.heartbeat is None or directory.heartbeat < now - stale_after or is_gone(directory.worker):
            yield directory


def is_finished(bulk: BulkMigration) -> bool:
    """Tell whether no directory waits or runs."""
    return not BulkDirectory.objects.filter(bulk=bulk, state__in=UNFINISHED).exists()


def waiting_at(bulk: BulkMigration, now: datetime) -> Any:
    """Return the rows of the directories that a worker can begin with."""
    rows = BulkDirectory.objects.filter(bulk=bulk, state=DirectoryState.WAITING)
    return rows.filter(Q(not_before=None) | Q(not_before__lte=now))


def _waiting(bulk: BulkMigration, now: datetime) -> list[BulkDirectory]:
    return list(waiting_at(bulk, now).defer("result").order_by("id")[:_CANDIDATES])


def _claim(directory: BulkDirectory, worker: str, now: datetime) -> Claim | None:
    """Claim a directory if it is as it was read. One whose workers died too often fails instead."""
    seen = {"state": directory.state, "claim": directory.claim, "heartbeat": directory.heartbeat}
    same = BulkDirectory.objects.filter(pk=directory.pk, **seen)
    died = (
        f"its worker {directory.worker} has sent no heartbeat since {directory.heartbeat}"
        if directory.state == DirectoryState.RUNNING
        else ""
    )
    if died and directory.tries >= MOST_TRIES:
        same.update(state=DirectoryState.FAILED, error=f"{died}, as others before", finished_at=now)
        return None
    taken = same.update(
        state=DirectoryState.RUNNING,
        claim=F("claim") + 1,
        tries=F("tries") + 1,
        worker=worker,
        heartbeat=now,
        started_at=now,
        not_before=None,
        progress=0,
        expected=None,
        **({"error": f"{died}; another one continues"} if died else {}),
    )
    return Claim(directory, directory.claim + 1) if taken else None
