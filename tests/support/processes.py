"""Other processes of a test, which end with it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Any

from tests.support.time_limits import time_limit


@contextlib.contextmanager
def ended(*processes: subprocess.Popen[Any]) -> Iterator[None]:
    """Kill what still runs in the end, and close every pipe: one that is left open fails another test."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait(time_limit(60))
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
