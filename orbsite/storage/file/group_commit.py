"""Threads that save at the same time share one lock and one wait for the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from orbsite.storage.errors import LockTimeout, OrbError, SaveOutcomeUnknown
from orbsite.storage.file.content import Content

T = TypeVar("T")

_LONGEST = 120.0
"""Seconds for which a thread waits for those that save before it: for their lock, and a fold."""


class PendingWrite(Generic[T]):
    """One thread's change of a document."""

    def __init__(self, action: Callable[[Content], T]) -> None:
        self.is_done = False
        self._action = action
        self._results: list[T] = []
        self._problem: BaseException | None = None

    def run(self, content: Content) -> bool:
        """Make the change in memory, or note why not; False where that may have left half a change behind."""
        self._results.clear()
        try:
            self._results.append(self._action(content))
        except (OrbError, ValueError) as problem:
            self._problem = problem
        except Exception as problem:  # noqa: BLE001 -- a caller's mistake, which is that caller's alone
            self._problem = problem
            return False
        return True

    @property
    def has_failed(self) -> bool:
        """Whether it is known already that nothing comes of it."""
        return self._problem is not None

    def fail(self, problem: BaseException) -> None:
        """Note that what was changed in memory did not reach the disk, or nobody knows."""
        if self._problem is None and isinstance(problem, OrbError):
            self._problem = type(problem)(*problem.args)
        elif self._problem is None:
            self._problem = _unknown(problem)

    def result(self) -> T:
        """Return what the action returned, or raise what kept it from happening."""
        if self._problem is not None:
            raise self._problem
        if not self._results:
            raise _unknown(None)
        return self._results[0]


class GroupCommit:
    """Collects jobs while one thread, the first to come, commits those that came before."""

    def __init__(self, commit: Callable[[Sequence[PendingWrite[Any]], Callable[[], None]], None]) -> None:
        self._commit = commit
        """Runs jobs, makes what they changed durable, and calls back as soon as it is."""
        self._changed = threading.Condition()
        self._waiting: list[PendingWrite[Any]] = []
        self._leader: PendingWrite[Any] | None = None

    def run(self, action: Callable[[Content], T]) -> T:
        """Run an action in the next batch, and return its result once that is durable. Raises what the action does.

        Raises LockTimeout where those that save before do not come to an end.
        """
        job = PendingWrite(action)
        try:  # whatever interrupts a thread, and wherever: nobody waits for it afterwards
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
        """Return when the job is done, or its thread is the one that leads."""
        deadline = time.monotonic() + _LONGEST
        with self._changed:
            self._waiting.append(job)
            while self._leader is not None and not job.is_done:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise LockTimeout("other threads of this process have been saving all the time; try again later")
            if not job.is_done:
                self._leader = job

    def _lead(self, job: PendingWrite[Any]) -> None:
        jobs: list[PendingWrite[Any]] = [job]
        try:
            with self._changed:
                jobs, self._waiting = self._waiting, []
            self._commit(jobs, lambda: self._acknowledge(jobs))
        except BaseException as problem:
            for one in jobs:
                if one is not job and not one.is_done:
                    one.fail(problem)
            raise
        finally:
            self._acknowledge(jobs)

    def _acknowledge(self, jobs: list[PendingWrite[Any]]) -> None:
        with self._changed:
            for one in jobs:
                one.is_done = True
            self._changed.notify_all()


def _unknown(problem: BaseException | None) -> SaveOutcomeUnknown:
    unknown = SaveOutcomeUnknown("the thread that saved for others was stopped half way; read again before you retry")
    unknown.__cause__ = problem
    return unknown
