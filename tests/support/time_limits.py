"""Time limits for tests. A limit ends what hangs and says nothing about speed, so it grows with the machine's load."""

from __future__ import annotations

import os

AT_LEAST = 3.0
"""The load may come after a limit was set, so limits are generous on a quiet machine too."""
_ROOM = 2.0


def time_limit(usual: float) -> float:
    """Return a limit for what takes less than `usual` on a quiet machine, in the same unit."""
    return usual * max(AT_LEAST, _ROOM * _load_per_core())


def _load_per_core() -> float:
    """Return how many processes want each core: the average of the last minute."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # not on this system
        return 1.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return load / (cores or 1)
