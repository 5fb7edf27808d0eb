"""Shows progress as a bar on a terminal, else as JSON lines. Ctrl-C stops an operation after its current batch."""

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

tqdm.monitor_interval = 0  # its thread would keep operations from using a second process
_SECONDS_BETWEEN_LINES = 1.0
_SECONDS_UNTIL_A_BAR = 0.5


class Meter(Progress):
    """Counts the processed records of an operation. Use it as a context manager."""

    def __init__(self, stream: TextIO, unit: str) -> None:
        self._stream = stream
        self._bar = tqdm(file=stream, unit=f" {unit}", leave=False, disable=None, delay=_SECONDS_UNTIL_A_BAR)
        self._done, self._expected = 0, 0
        self._began = self._last_line = time.monotonic()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Stop after the current batch at the first Ctrl-C; the second one interrupts at once."""
        before = signal.getsignal(signal.SIGINT)
        if before in (None, signal.SIG_IGN) or threading.current_thread() is not threading.main_thread():
            yield  # Ctrl-C does not reach this process or thread
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
        """Request that the operation stops after its current batch."""
        self.is_stopping = True

    def expect(self, records: int) -> None:
        """Set the estimated number of remaining records."""
        self._expected = self._done + records
        if not self._bar.disable:
            self._bar.total = self._expected or None

    def __call__(self, records: int) -> None:
        """Add a number of processed records."""
        self._done += records
        if not self._bar.disable:
            self._bar.update(records)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._stream.write(json.dumps(self._line()) + "\n")
            self._stream.flush()

    def _line(self) -> dict[str, int | float]:
        rate = self._done / max(self._last_line - self._began, 1e-9)
        line: dict[str, int | float] = {"progress": self._done}
        if self._expected:
            line |= {"expected": max(self._expected, self._done), "per_second": round(rate)}
            line["seconds_left"] = round(max(self._expected - self._done, 0) / max(rate, 1e-9), 1)
        return line
