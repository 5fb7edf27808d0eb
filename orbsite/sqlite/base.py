"""The connection that Django opens where a database's ENGINE is orbsite.sqlite."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

from django.db.backends.sqlite3 import base

_creating = threading.Lock()


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, but a file that it makes may be read by its owner alone, whatever the umask is.

    What SQLite puts beside the file has the file's mode.
    """

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect, to a file that was made private where there was none."""
        path = str(conn_params["database"])
        if not self.is_in_memory_db() and not path.startswith("file:"):
            _make(path)
        return super().get_new_connection(conn_params)


def _make(path: str) -> None:
    # One at a time: to close a file drops all locks of this process on it, those of a faster thread too.
    with _creating, contextlib.suppress(OSError):  # it is there, or SQLite tells what is wrong with its place
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
