"""The connection that Django opens where a database's ENGINE is orbsite.runtime.sqlite.

A file that was removed under a running server would come back empty, and take what is saved from then on. So a process
that has had the database open never creates it again, and where the settings of the database say
`"CREATES_FILE": False`, no connection creates it at all: `manage.py migrate` does, and a restore, by `create_file`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.db.backends.sqlite3 import base
from django.db.backends.sqlite3.features import DatabaseFeatures as DjangosFeatures
from django.db.backends.sqlite3.operations import DatabaseOperations as DjangosOperations
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property

from orbsite.runtime.sqlite.errors import DatabaseMissing
from orbsite.runtime.sqlite.text import lenient_text, prepare

_creating = threading.Lock()
_known: set[str] = set()
"""The files that this process has had open."""


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


class DatabaseFeatures(DjangosFeatures):
    """Django's own, but whether SQLite has JSON functions is asked of SQLite, and needs no database of ours.

    Django 6.1 asks that in every system check, also where there is no database yet.
    """

    @cached_property
    def supports_json_field(self) -> bool:  # type: ignore[override]  # the stubs call it a variable
        """Whether SQLite has JSON functions."""
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            try:
                connection.execute("SELECT JSON('{}')")
            except sqlite3.OperationalError:
                return False
        return True


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, but it opens only a file that is there, or that is new and private.

    Text that is no UTF-8 is returned with lone surrogates, where Django's would raise an error that shows the text.

    What SQLite puts beside the file has the file's mode, and what is removed is overwritten with zeros. A connection
    that is kept from request to request is left once its file is not the one under that name any more, as after a
    restore: nobody would ever read what it writes.
    """

    features_class = DatabaseFeatures
    ops_class = DatabaseOperations
    _file: tuple[int, int] | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect. Raises DatabaseMissing where there is no file."""
        path = str(conn_params["database"])
        if self.is_in_memory_db() or path.startswith("file:"):
            connection = super().get_new_connection(conn_params)
            prepare(connection)
            return connection
        if self.settings_dict.get("CREATES_FILE", True) and path not in _known:
            with contextlib.suppress(OSError):  # SQLite tells what is wrong with its place
                self.create_file()
        address = f"file:{quote(os.fsencode(path))}?mode=rw"
        try:
            connection = super().get_new_connection({**conn_params, "database": address, "uri": True})
        except sqlite3.OperationalError as problem:
            if not _is_missing(path):
                raise
            raise DatabaseMissing(
                f"there is no database at {path}; run: manage.py migrate, which makes an empty one, or "
                "manage.py restore_orb_backup DIR --apply, which brings a backup back"
            ) from problem
        self._file = _identity(path)
        _known.add(path)
        prepare(connection)
        connection.execute("PRAGMA secure_delete = ON")  # what is removed is overwritten, in the file too
        return connection

    def is_usable(self) -> bool:
        """Tell whether the file that is open is the one under its name."""
        if self._file is None:
            return bool(super().is_usable())
        return _identity(str(self.settings_dict["NAME"])) == self._file

    def create_file(self) -> None:
        """Make the file, empty and private whatever the umask is, where there is none. Raises OSError."""
        path = str(self.settings_dict["NAME"])
        if self.is_in_memory_db() or path.startswith("file:") or Path(path).exists():
            return
        # One at a time: to close a file drops all locks of this process on it, those of a faster thread too.
        with _creating, contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _is_missing(path: str) -> bool:
    """Tell whether its directory is there without it; where the directory is closed to this user, that is unknown."""
    try:
        Path(path).stat()
    except FileNotFoundError:
        return Path(path).parent.is_dir()
    except OSError:
        return False
    return False


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:  # it is gone
        return None
    return status.st_dev, status.st_ino
