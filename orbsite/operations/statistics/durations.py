"""How long an operation will take, from the runs in the ledger and from the jobs that have ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orbsite.models.jobs import Job, JobState
from orbsite.models.ledger import Run, RunState

MOST = 5
"""The number of earlier runs that an estimate is made from."""
_SHORTEST = 0.001


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected duration of an operation."""

    seconds: float
    basis: int
    """The number of earlier runs or jobs that it is made from."""
    is_by_rate: bool
    """Whether it follows from the rate of the earlier runs; else it is their mean duration."""


def estimate(operation: str, records: int | None) -> Estimate | None:
    """Return how long an operation over that many records will take; None where it has not run before.

    The rate is that of the last complete runs in the ledger, or of the last jobs where the ledger has no run. None
    for `records` stands for an unknown number.
    """
    done = _runs(operation) or _jobs(operation)
    return _estimated(done, records) if done else None


def _estimated(done: list[tuple[int, float]], records: int | None) -> Estimate:
    counted = [(number, seconds) for number, seconds in done if number]
    if records is None or not counted:
        return Estimate(sum(seconds for _, seconds in done) / len(done), len(done), is_by_rate=False)
    rate = sum(number for number, _ in counted) / sum(seconds for _, seconds in counted)
    return Estimate(records / rate, len(counted), is_by_rate=True)


def records_read(run: Run) -> int:
    """Return the number of records that a run has read, 0 if it did not count them."""
    return sum(int(counts.get("read", 0)) for kinds in run.counts.values() for counts in kinds.values())


def _runs(operation: str) -> list[tuple[int, float]]:
    """Return the records read and the seconds taken by the last complete runs."""
    rows = Run.objects.filter(operation=operation, state=RunState.COMPLETE, finished_at__isnull=False)
    return list(_timed((records_read(row), row) for row in rows.order_by("-id")[:MOST]))


def _jobs(operation: str) -> list[tuple[int, float]]:
    rows = Job.objects.filter(operation=operation, state=JobState.DONE).defer("so_far", "result", "samples")
    return list(_timed((row.progress, row) for row in rows.order_by("-id")[:MOST]))


def _timed(rows: Iterable[tuple[int, Run | Job]]) -> Iterable[tuple[int, float]]:
    for number, row in rows:
        if row.started_at is not None and row.finished_at is not None:
            yield number, max(_SHORTEST, (row.finished_at - row.started_at).total_seconds())
