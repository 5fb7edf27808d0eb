"""Shows progress: a bar on a terminal, JSON lines otherwise."""

from __future__ import annotations

import json
import time
from typing import TextIO

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 1.0
_SECONDS_UNTIL_A_BAR = 0.5


class Meter:
    """Counts records while an operation runs; use it as a context manager."""

    def __init__(self, stream: TextIO, unit: str) -> None:
        self._stream = stream
        self._bar = tqdm(file=stream, unit=f" {unit}", leave=False, disable=None, delay=_SECONDS_UNTIL_A_BAR)
        self._done = 0
        self._told = time.monotonic()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, records: int) -> None:
        """Take note that so many more records are done."""
        self._done += records
        if not self._bar.disable:
            self._bar.update(records)
        elif time.monotonic() - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            self._stream.write(json.dumps({"progress": self._done}) + "\n")
