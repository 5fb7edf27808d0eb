"""Pauses in long work of one thread, so that the saves of other threads do not wait for Python's lock."""

from __future__ import annotations

import threading
import time

_WORK, _PAUSE = 0.002, 0.0001
"""Seconds of work between two pauses, and of a pause at least."""
_LONGEST = 0.05
"""Seconds that one pause takes at most, so that the work ends even if others save all the time."""


class Pauses:
    """Pauses every two milliseconds, and until an event is set that says that nobody is in a hurry."""

    def __init__(self, is_quiet: threading.Event) -> None:
        self._is_quiet = is_quiet
        self._since = time.monotonic()

    def pause(self) -> None:
        """Pause if the work has taken long since the last pause, or if others are in a hurry."""
        if time.monotonic() - self._since > _WORK or not self._is_quiet.is_set():
            self.make()

    def make(self) -> None:
        """Pause until nobody saves with the lock."""
        time.sleep(_PAUSE)
        self._is_quiet.wait(_LONGEST)
        self._since = time.monotonic()
