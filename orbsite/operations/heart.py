"""The heart of work under way: it tells that its process lives, how far it is, and hears that it should stop."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Protocol

from django.db import DatabaseError, InterfaceError, connection

from orbsite.operations.progress import Progress, Stopped

logger = logging.getLogger(__name__)

SECONDS = 1.0


class Beat(Protocol):
    """Writes down that work goes on; called by a thread of its own."""

    def __call__(self, moment: datetime, watched: Watched, /) -> bool:
        """Return whether it should go on."""


class Watched(Progress):
    """Counts what is done, and ends the operation where somebody wants it to.

    An operation that looks at `is_stopping` itself is left to do so; any other ends at its next step.
    """

    def __init__(self, under: Progress | None = None) -> None:
        self.done = 0
        self.expected: int | None = None
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
        if self.is_stopping and not self._is_heeded:
            raise Stopped("it was told to stop; what was done so far is kept")


@contextlib.contextmanager
def beating(
    watched: Watched, beat: Beat, now: Callable[[], datetime], *, seconds: float = SECONDS
) -> Iterator[Watched]:
    """Have a thread with a connection of its own tell of an operation every so often, whatever it is busy with.

    A database that is locked or out of reach for a while is asked again at the next beat.
    """
    over = threading.Event()

    def run() -> None:
        try:
            while not over.wait(seconds):
                try:
                    if not beat(now(), watched):
                        watched.stop()
                except (DatabaseError, InterfaceError) as problem:
                    logger.warning("a heartbeat was not written (%s); the next one follows", type(problem).__name__)
                    connection.close()  # one that was lost is no use to the next
        finally:
            connection.close()

    thread = threading.Thread(target=run, name="heart", daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        over.set()
        thread.join()
