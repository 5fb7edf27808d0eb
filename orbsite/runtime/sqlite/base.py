"""The database backend for `ENGINE = "orbsite.runtime.sqlite"`.

If a database file is removed under a running server, SQLite would create an empty one and save new data there. To
prevent this, a process that has opened the database never creates it again. With `"CREATES_FILE": False` in the
database settings, no connection creates the file: only `manage.py migrate` and a restore do, by `create_file`.
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

from orbsite.runtime.home import program
from orbsite.runtime.sqlite.errors import DatabaseMissing
from orbsite.runtime.sqlite.text import lenient_text, prepare

_creating = threading.Lock()
_known: set[str] = set()
"""The paths of the files that this process has opened."""


def _moment(data: bytes) -> Any:
    """Return the timestamp in a timestamp column, or the text of a cell that has none."""
    text = lenient_text(data)
    try:
        return parse_datetime(text) or text
    except ValueError:
        return text


for _declared in ("datetime", "timestamp"):
    sqlite3.register_converter(_declared, _moment)


class DatabaseOperations(DjangosOperations):
    """Django's operations, but an invalid timestamp is returned as stored, so that it does not hide other rows."""

    def convert_datetimefield_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """Return a timestamp, or the stored value if it is not a valid one."""
        if isinstance(value, str):
            value = _moment(value.encode("utf-8", "surrogateescape"))
        if isinstance(value, str | bytes | int | float):
            return value
        return super().convert_datetimefield_value(value, expression, connection)


class DatabaseFeatures(DjangosFeatures):
    """Django's features, but the check for JSON functions uses an in-memory database.

    Django 6.1 makes this check in every system check, even if the database file does not exist yet.
    """

    @cached_property
    def supports_json_field(self) -> bool:  # type: ignore[override]  # the stubs call it a variable
        """Whether this SQLite library has JSON functions."""
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            try:
                connection.execute("SELECT JSON('{}')")
            except sqlite3.OperationalError:
                return False
        return True


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's connection, but it opens only an existing file, or creates one that is private to its owner.

    Invalid UTF-8 is returned with lone surrogates; Django's connection would raise an error that shows the text.

    Files that SQLite creates beside the database have its mode. Deleted data is overwritten with zeros. A persistent
    connection is closed if another file has the database's name, as after a restore, because its writes would be lost.
    """

    features_class = DatabaseFeatures
    ops_class = DatabaseOperations
    _file: tuple[int, int] | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect to the database. Raises DatabaseMissing if its file does not exist."""
        path = str(conn_params["database"])
        if self.is_in_memory_db() or path.startswith("file:"):
            connection = super().get_new_connection(conn_params)
            prepare(connection)
            return connection
        if self.settings_dict.get("CREATES_FILE", True) and path not in _known:
            with contextlib.suppress(OSError):  # SQLite reports the error when it opens the file
                self.create_file()
        address = f"file:{quote(os.fsencode(path))}?mode=rw"
        try:
            connection = super().get_new_connection({**conn_params, "database": address, "uri": True})
        except sqlite3.OperationalError as problem:
            if not _is_missing(path):
                raise
            raise DatabaseMissing(
                f"the database {path} does not exist; run: {program()} migrate, which creates an empty one, or "
                f"{program()} restore_orb_backup DIR --apply, which restores a backup"
            ) from problem
        self._file = _identity(path)
        _known.add(path)
        prepare(connection)
        connection.execute("PRAGMA secure_delete = ON")  # deleted data must not remain in the file
        return connection

    def is_usable(self) -> bool:
        """Tell whether the open file is still the one under the database's name."""
        if self._file is None:
            return bool(super().is_usable())
        return _identity(str(self.settings_dict["NAME"])) == self._file

    def create_file(self) -> None:
        """Create an empty database file with mode 600 if it does not exist. Raises OSError."""
        path = str(self.settings_dict["NAME"])
        if self.is_in_memory_db() or path.startswith("file:") or Path(path).exists():
            return
        # The lock is needed because closing a file drops all locks of this process on it, also those of other threads.
        with _creating, contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _is_missing(path: str) -> bool:
    """Tell whether the file is missing in an existing directory. False if the directory is not accessible."""
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
    except OSError:  # the file does not exist
        return None
    return status.st_dev, status.st_ino
