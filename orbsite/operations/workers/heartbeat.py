"""The heartbeat of an operation: a thread saves signs of life and progress, and passes on requests to stop."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Protocol

from django.db import DatabaseError, InterfaceError, connection
from typing_extensions import override

from orbsite.operations.progress import Progress, Stopped
from orbsite.operations.report import Report

logger = logging.getLogger(__name__)

SECONDS = 1.0
_REST = 0.11
"""The pause for other writers. A program that waits for SQLite sleeps for 0.1 seconds before it tries again."""


class Beat(Protocol):
    """Saves a heartbeat. A separate thread calls it."""

    def __call__(self, moment: datetime, watched: MonitoredProgress, /) -> bool:
        """Return whether the operation should continue."""


class MonitoredProgress(Progress):
    """Counts the finished records, and ends the operation after a stop request.

    An operation that checks `is_stopping` itself decides when to end; any other ends at its next step.
    """

    def __init__(self, under: Progress | None = None) -> None:
        self.done = 0
        self.expected: int | None = None
        self.report: Report | None = None
        """The report in the making."""
        self.stepped: Callable[[], None] = lambda: None
        """Called after each step, in the thread of the operation."""
        self._under, self._is_heeded, self._is_stopped = under or Progress(), False, False

    @property
    def is_stopping(self) -> bool:  # type: ignore[override]
        """Whether a stop was requested."""
        return self._is_stopped or self._under.is_stopping

    def stop(self) -> None:
        """Request the end of the operation."""
        self._is_stopped = True

    @override
    def expect(self, records: int) -> None:
        self.expected = self.done + records
        self._under.expect(records)

    @override
    def tells_of(self, report: Report) -> None:
        self.report = report
        self._under.tells_of(report)

    @contextlib.contextmanager
    @override
    def heeded(self) -> Iterator[None]:
        self._is_heeded = True
        try:
            with self._under.heeded():
                yield
        finally:
            self._is_heeded = False

    def __call__(self, records: int) -> None:
        """Count `records` more records as done. Raises Stopped where the operation is to end."""
        self.done += records
        self._under(records)
        self.stepped()
        if self.is_stopping and not self._is_heeded:
            raise Stopped("it was stopped on request; the work done so far is kept")


@contextlib.contextmanager
def heartbeat(
    watched: MonitoredProgress, beat: Beat, now: Callable[[], datetime], *, seconds: float = SECONDS
) -> Iterator[MonitoredProgress]:
    """Run a thread, with its own connection, that saves heartbeats while an operation works.

    After an error of the database, the next heartbeat tries again. If transactions follow each other so fast that the
    thread cannot write, the operation saves the heartbeat between two of them, and then pauses for other writers.
    """
    ended, sender = threading.Event(), _HeartbeatThread(watched, beat, now)

    def run() -> None:
        try:
            while not ended.wait(seconds):
                if not sender.beats():
                    connection.close()  # the next heartbeat needs a new connection
        finally:
            connection.close()

    def stepped() -> None:
        if not connection.in_atomic_block and sender.is_still_for(2 * seconds):
            sender.beats()
            if connection.vendor == "sqlite":
                time.sleep(_REST)

    watched.stepped = stepped
    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        watched.stepped = lambda: None
        ended.set()
        thread.join()


class _HeartbeatThread:
    """Saves heartbeats, for the thread and for the operation itself."""

    def __init__(self, watched: MonitoredProgress, beat: Beat, now: Callable[[], datetime]) -> None:
        self._watched, self._beat, self._now = watched, beat, now
        self._last = time.monotonic()

    def beats(self) -> bool:
        """Save a heartbeat, and return whether that succeeded."""
        try:
            if not self._beat(self._now(), self._watched):
                self._watched.stop()
        except (DatabaseError, InterfaceError) as problem:
            logger.warning("a heartbeat was not written (%s); the next one follows", type(problem).__name__)
            return False
        self._last = time.monotonic()
        return True

    def is_still_for(self, seconds: float) -> bool:
        """Tell whether the last heartbeat is older than that many seconds."""
        return time.monotonic() - self._last >= seconds
