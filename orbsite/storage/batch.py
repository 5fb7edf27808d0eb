"""Threads that save at the same time share one lock and one wait for the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from orbsite.storage.content import Content
from orbsite.storage.errors import OrbError

T = TypeVar("T")


class Job(Generic[T]):
    """One thread's change of a document."""

    def __init__(self, action: Callable[[Content], T]) -> None:
        self._action = action
        self._results: list[T] = []
        self._problem: BaseException | None = None

    def run(self, content: Content) -> None:
        """Make the change in memory, or note why not; whatever is refused has changed nothing."""
        try:
            self._results.append(self._action(content))
        except (OrbError, ValueError) as problem:
            self._problem = problem

    def fail(self, problem: BaseException) -> None:
        """Note that what was changed in memory did not reach the disk."""
        self._problem = self._problem or problem

    def result(self) -> T:
        """Return what the action returned, or raise what kept it from happening."""
        if self._problem is not None:
            raise self._problem
        return self._results[0]


class Batches:
    """Collects jobs while one thread, the first to come, commits those that came before."""

    def __init__(self, commit: Callable[[Sequence[Job[Any]], Callable[[], None]], None]) -> None:
        self._commit = commit
        """Runs jobs, makes what they changed durable, and calls back as soon as it is."""
        self._changed = threading.Condition()
        self._waiting: list[Job[Any]] = []
        self._done: set[int] = set()
        self._is_busy = False

    def run(self, action: Callable[[Content], T]) -> T:
        """Run an action in the next batch, and return its result once that is durable."""
        job = Job(action)
        with self._changed:
            self._waiting.append(job)
            while self._is_busy and id(job) not in self._done:
                self._changed.wait()
            if id(job) in self._done:
                self._done.remove(id(job))
                return job.result()
            jobs, self._waiting, self._is_busy = self._waiting, [], True
        others = [one for one in jobs if one is not job]
        try:
            self._commit(jobs, lambda: self._acknowledge(others))
        except BaseException as problem:
            for one in others:
                one.fail(problem)
            raise
        finally:
            with self._changed:
                self._is_busy = False
            self._acknowledge(others)
        return job.result()

    def _acknowledge(self, jobs: list[Job[Any]]) -> None:
        with self._changed:
            self._done.update(map(id, jobs))
            jobs.clear()
            self._changed.notify_all()
