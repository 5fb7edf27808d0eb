"""SHA-256 of much data by a thread of its own: hashing leaves Python's lock to whoever decodes or writes meanwhile."""

from __future__ import annotations

import contextlib
import threading
from hashlib import sha256

_MUCH = 4 << 20


class Hashing:
    """The SHA-256 of some bytes, which is begun at once where it takes long, and waited for once it is asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._digest = ""
        self._thread: threading.Thread | None = None
        if len(data) > _MUCH:
            thread = threading.Thread(target=self._hash, daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads, or Python is ending: hashed once it is asked for
                thread.start()
                self._thread = thread

    def hexdigest(self) -> str:
        """Return it in hex."""
        if self._thread is not None:
            self._thread.join()
        if not self._digest:
            self._hash()
        return self._digest

    def _hash(self) -> None:
        self._digest = sha256(self._data).hexdigest()
