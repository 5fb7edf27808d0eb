"""SHA-256 of large data in a thread of its own. Hashing releases Python's lock, so that other work goes on."""

from __future__ import annotations

import contextlib
import threading
from hashlib import sha256

_MUCH = 4 << 20


class Hashing:
    """The SHA-256 of some bytes: computed in a thread from the start for more than 4 MiB, else on first use."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._digest = ""
        self._thread: threading.Thread | None = None
        if len(data) > _MUCH:
            thread = threading.Thread(target=self._hash, daemon=True)
            with contextlib.suppress(RuntimeError):  # no thread can be started: hashed on first use
                thread.start()
                self._thread = thread

    def hexdigest(self) -> str:
        """Return the digest in hex, after waiting for the thread."""
        if self._thread is not None:
            self._thread.join()
        if not self._digest:
            self._hash()
        return self._digest

    def _hash(self) -> None:
        self._digest = sha256(self._data).hexdigest()
