"""Group commit: threads that save at the same time share one lock and one sync."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from orbsite.storage.errors import LockTimeout, OrbError, SaveOutcomeUnknown
from orbsite.storage.file.content import Content

T = TypeVar("T")

_LONGEST = 120.0
"""Seconds for which a thread waits for earlier saves: for their lock and for a fold."""


class PendingWrite(Generic[T]):
    """One thread's change of a document."""

    def __init__(self, action: Callable[[Content], T]) -> None:
        self.is_done = False
        self._action = action
        self._results: list[T] = []
        self._problem: BaseException | None = None

    def run(self, content: Content) -> bool:
        """Make the change in memory, or keep the error; return False if a partial change may remain."""
        self._results.clear()
        try:
            self._results.append(self._action(content))
        except (OrbError, ValueError) as problem:
            self._problem = problem
        except Exception as problem:  # noqa: BLE001 -- a caller's mistake, which only that caller sees
            self._problem = problem
            return False
        return True

    @property
    def has_failed(self) -> bool:
        """Whether the change is known to have failed."""
        return self._problem is not None

    def fail(self, problem: BaseException) -> None:
        """Record that the change did not reach the disk, or that this is unknown."""
        if self._problem is None and isinstance(problem, OrbError):
            self._problem = type(problem)(*problem.args)
        elif self._problem is None:
            self._problem = _unknown(problem)

    def result(self) -> T:
        """Return the action's result, or raise the error of the action or of the commit."""
        if self._problem is not None:
            raise self._problem
        if not self._results:
            raise _unknown(None)
        return self._results[0]


class GroupCommit:
    """Collects jobs in a queue. One thread, the leader, commits all queued jobs; the next leader commits the rest."""

    def __init__(self, commit: Callable[[Sequence[PendingWrite[Any]], Callable[[], None]], None]) -> None:
        self._commit = commit
        """Runs jobs, makes their changes durable, and calls back as soon as they are."""
        self._changed = threading.Condition()
        self._waiting: list[PendingWrite[Any]] = []
        self._leader: PendingWrite[Any] | None = None

    def run(self, action: Callable[[Content], T]) -> T:
        """Run an action in the next batch, and return its result once its change is durable.

        Raises the action's errors, and LockTimeout if earlier saves take longer than 120 seconds.
        """
        job = PendingWrite(action)
        try:  # the cleanup below runs for any interruption, so that no other thread waits for this one
            self._wait(job)
            if self._leader is job:
                self._lead(job)
        finally:
            with self._changed:
                if job in self._waiting:
                    self._waiting.remove(job)
                if self._leader is job:
                    self._leader = None
                self._changed.notify_all()
        return job.result()

    def _wait(self, job: PendingWrite[Any]) -> None:
        """Wait until the job is done or its thread is the leader."""
        deadline = time.monotonic() + _LONGEST
        with self._changed:
            self._waiting.append(job)
            while self._leader is not None and not job.is_done:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise LockTimeout("other threads of this process kept saving for too long; try again later")
            if not job.is_done:
                self._leader = job

    def _lead(self, job: PendingWrite[Any]) -> None:
        jobs: list[PendingWrite[Any]] = [job]
        try:
            with self._changed:
                jobs, self._waiting = self._waiting, []
            self._commit(jobs, lambda: self._acknowledge(jobs))
        except BaseException as problem:
            for other in jobs:
                if other is not job and not other.is_done:
                    other.fail(problem)
            raise
        finally:
            self._acknowledge(jobs)

    def _acknowledge(self, jobs: list[PendingWrite[Any]]) -> None:
        with self._changed:
            for job in jobs:
                job.is_done = True
            self._changed.notify_all()


def _unknown(problem: BaseException | None) -> SaveOutcomeUnknown:
    unknown = SaveOutcomeUnknown(
        "the thread that committed this save was stopped before it finished; read the content again before you retry"
    )
    unknown.__cause__ = problem
    return unknown
