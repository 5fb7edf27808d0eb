"""The heart of work under way: it tells that its process lives, how far it is, and hears that it should stop."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Protocol

from django.db import DatabaseError, InterfaceError, connection

from orbsite.operations.progress import Progress, Stopped
from orbsite.operations.report import Report

logger = logging.getLogger(__name__)

SECONDS = 1.0
_REST = 0.11
"""Whoever waits for SQLite sleeps for a tenth of a second before it looks again; others do not wait so."""


class Beat(Protocol):
    """Writes down that work goes on; called by a thread of its own."""

    def __call__(self, moment: datetime, watched: MonitoredProgress, /) -> bool:
        """Return whether it should go on."""


class MonitoredProgress(Progress):
    """Counts what is done, and ends the operation where somebody wants it to.

    An operation that looks at `is_stopping` itself is left to do so; any other ends at its next step.
    """

    def __init__(self, under: Progress | None = None) -> None:
        self.done = 0
        self.expected: int | None = None
        self.report: Report | None = None
        """What is being told so far."""
        self.stepped: Callable[[], None] = lambda: None
        """Called by the thread that works, after each step."""
        self._under, self._is_heeded, self._is_stopped = under or Progress(), False, False

    @property
    def is_stopping(self) -> bool:  # type: ignore[override]
        """Whether somebody wants the operation to end."""
        return self._is_stopped or self._under.is_stopping

    def stop(self) -> None:
        """Want it to end."""
        self._is_stopped = True

    def expect(self, records: int) -> None:
        """Take note that about so many records are still to come."""
        self.expected = self.done + records
        self._under.expect(records)

    def tells_of(self, report: Report) -> None:
        """Take note of the report that is being made; one that is a part of another counts for itself."""
        self.report = report
        self._under.tells_of(report)

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Let a wish to stop show in `is_stopping` alone."""
        self._is_heeded = True
        try:
            with self._under.heeded():
                yield
        finally:
            self._is_heeded = False

    def __call__(self, records: int) -> None:
        """Take note that so many more records are done. Raises Stopped where the operation should end."""
        self.done += records
        self._under(records)
        self.stepped()
        if self.is_stopping and not self._is_heeded:
            raise Stopped("it was told to stop; what was done so far is kept")


@contextlib.contextmanager
def heartbeat(
    watched: MonitoredProgress, beat: Beat, now: Callable[[], datetime], *, seconds: float = SECONDS
) -> Iterator[MonitoredProgress]:
    """Have a thread with a connection of its own tell of an operation every so often, whatever it is busy with.

    A database that is locked or out of reach for a while is asked again at the next beat. Where one transaction follows
    the other so fast that the thread finds no room, the operation itself tells between two of them, and leaves room
    then for whoever else waits.
    """
    over, heart = threading.Event(), _HeartbeatThread(watched, beat, now)

    def run() -> None:
        try:
            while not over.wait(seconds):
                if not heart.beats():
                    connection.close()  # one that was lost is no use to the next
        finally:
            connection.close()

    def stepped() -> None:
        if not connection.in_atomic_block and heart.is_still_for(2 * seconds):
            heart.beats()
            if connection.vendor == "sqlite":
                time.sleep(_REST)

    watched.stepped = stepped
    thread = threading.Thread(target=run, name="heart", daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        watched.stepped = lambda: None
        over.set()
        thread.join()


class _HeartbeatThread:
    """What beats, whichever thread has it beat."""

    def __init__(self, watched: MonitoredProgress, beat: Beat, now: Callable[[], datetime]) -> None:
        self._watched, self._beat, self._now = watched, beat, now
        self._last = time.monotonic()

    def beats(self) -> bool:
        """Beat once, and return whether that was written."""
        try:
            if not self._beat(self._now(), self._watched):
                self._watched.stop()
        except (DatabaseError, InterfaceError) as problem:
            logger.warning("a heartbeat was not written (%s); the next one follows", type(problem).__name__)
            return False
        self._last = time.monotonic()
        return True

    def is_still_for(self, seconds: float) -> bool:
        """Tell whether it has not beaten for so long."""
        return time.monotonic() - self._last >= seconds
