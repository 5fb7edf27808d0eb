"""Durations of calls, and the memory of this process."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def seconds(act: Callable[[], object]) -> float:
    """Return the wall seconds of a call."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def times(calls: Iterable[Callable[[], object]]) -> list[float]:
    """Return the wall seconds of each call."""
    return [seconds(call) for call in calls]


def best(call: Callable[[], object]) -> float:
    """Return the shortest of three measured times, in seconds."""
    return min(times([call] * 3))


def cost(act: Callable[[], object]) -> dict[str, float]:
    """Return the seconds of wall and processor that a call takes, after a garbage collection.

    Those of processes that it starts and that end with it are included.
    """
    gc.collect()
    gc.freeze()
    begin, before = time.perf_counter(), _processor()
    act()
    return {"wall": time.perf_counter() - begin, "cpu": _processor() - before}


def _processor() -> float:
    return sum(os.times()[:4])


def peak() -> int:
    """Return the peak memory of this process, in bytes."""
    return _memory("VmHWM")


def memory() -> int:
    """Return the memory of this process, in bytes."""
    return _memory("VmRSS")


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024
