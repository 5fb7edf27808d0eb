"""Shows progress: a bar on a terminal, JSON lines otherwise; Ctrl-C lets an operation end its batch first."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from tqdm import tqdm

from orbsite.operations.progress import Progress

_SECONDS_BETWEEN_LINES = 1.0
_SECONDS_UNTIL_A_BAR = 0.5


class Meter(Progress):
    """Counts records while an operation runs; use it as a context manager."""

    def __init__(self, stream: TextIO, unit: str) -> None:
        self._stream = stream
        self._bar = tqdm(file=stream, unit=f" {unit}", leave=False, disable=None, delay=_SECONDS_UNTIL_A_BAR)
        self._done, self._expected = 0, 0
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Take the first Ctrl-C as a wish to stop after the batch; the second one interrupts as ever."""
        before = signal.getsignal(signal.SIGINT)
        if before in (None, signal.SIG_IGN) or threading.current_thread() is not threading.main_thread():
            yield  # nobody's Ctrl-C comes here
            return

        def stop(*_: object) -> None:
            self.stop()
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def stop(self) -> None:
        """Wish that the operation ends after the batch that it is in."""
        self.is_stopping = True

    def expect(self, records: int) -> None:
        """Take note that about so many records are still to come."""
        self._expected = self._done + records
        if not self._bar.disable:
            self._bar.total = self._expected or None

    def __call__(self, records: int) -> None:
        """Take note that so many more records are done."""
        self._done += records
        if not self._bar.disable:
            self._bar.update(records)
        elif time.monotonic() - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            self._stream.write(json.dumps(self._line()) + "\n")
            self._stream.flush()

    def _line(self) -> dict[str, int | float]:
        rate = self._done / max(self._told - self._began, 1e-9)
        line: dict[str, int | float] = {"progress": self._done}
        if self._expected:
            line |= {"expected": max(self._expected, self._done), "per_second": round(rate)}
            line["seconds_left"] = round(max(self._expected - self._done, 0) / max(rate, 1e-9), 1)
        return line
