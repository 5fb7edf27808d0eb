"""The connection that Django opens where a database's ENGINE is orbsite.sqlite."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.backends.sqlite3.operations import DatabaseOperations as DjangosOperations
from django.utils.dateparse import parse_datetime

from orbsite.sqlite.text import lenient_text, prepare

_creating = threading.Lock()


def _moment(data: bytes) -> Any:
    """Return the instant that a column declared as one holds, or its text where it holds none."""
    text = lenient_text(data)
    try:
        return parse_datetime(text) or text
    except ValueError:
        return text


for _declared in ("datetime", "timestamp"):
    sqlite3.register_converter(_declared, _moment)


class DatabaseOperations(DjangosOperations):
    """Django's own, but a cell that holds no instant is returned as it is: one bad cell hides no other row."""

    def convert_datetimefield_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Return an instant, or what else the cell holds."""
        if isinstance(value, str):
            value = _moment(value.encode("utf-8", "surrogateescape"))
        if isinstance(value, str | bytes | int | float):
            return value
        return super().convert_datetimefield_value(value, expression, connection)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, but a file that it makes may be read by its owner alone, whatever the umask is.

    Text that is no UTF-8 is returned with lone surrogates, where Django's would raise an error that shows the text.

    What SQLite puts beside the file has the file's mode. A connection that is kept from request to request is left
    once its file is not the one under that name any more, as after a restore: nobody would ever read what it writes.
    """

    ops_class = DatabaseOperations
    _file: tuple[int, int] | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect, to a file that was made private where there was none."""
        path = str(conn_params["database"])
        is_file = not self.is_in_memory_db() and not path.startswith("file:")
        if is_file:
            _make(path)
        connection = super().get_new_connection(conn_params)
        prepare(connection)
        self._file = _identity(path) if is_file else None
        return connection

    def is_usable(self) -> bool:
        """Tell whether the file that is open is the one under its name."""
        if self._file is None:
            return bool(super().is_usable())
        return _identity(str(self.settings_dict["NAME"])) == self._file


def _make(path: str) -> None:
    # One at a time: to close a file drops all locks of this process on it, those of a faster thread too.
    with _creating, contextlib.suppress(OSError):  # it is there, or SQLite tells what is wrong with its place
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:  # it is gone
        return None
    return status.st_dev, status.st_ino
