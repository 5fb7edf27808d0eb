"""Waits for a lock that other runs hold."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from orbsite.operations.progress import Progress, Stopped
from orbsite.storage.errors import LockTimeout

_PAUSE = 0.2

T = TypeVar("T")


def patiently(act: Callable[[], T], progress: Progress) -> T:
    """Call a function until it raises no LockTimeout, and return its result. Raises Stopped on request."""
    while True:
        try:
            return act()
        except LockTimeout as problem:
            if progress.is_stopping:
                raise Stopped("it was stopped while it waited for another run; run it again to continue") from problem
        pause(_PAUSE)


def pause(seconds: float) -> None:
    """Sleep for up to that many seconds, so that workers do not stay in step."""
    time.sleep(random.uniform(seconds / 4, seconds))  # noqa: S311 -- keeps workers out of step
