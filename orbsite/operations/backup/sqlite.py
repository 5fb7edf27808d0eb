"""Saves and restores a SQLite database with SQLite's backup interface, never by copying the file."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orbsite.operations.backup import sqlite_schema
from orbsite.operations.backup.manifest import opened
from orbsite.storage.driver_errors import driver_message
from orbsite.storage.errors import DocumentCorrupt, StoreUnavailable
from orbsite.storage.filesystem.directory import Directory

NAME = "database.sqlite3"
_PATIENCE = 20.0
"""Seconds to wait for other writers."""
_DONE = 101  # SQLITE_DONE


def save(connection: Any, directory: Directory) -> dict[str, int]:
    """Write all committed data as one snapshot, and return its row counts. Other writers wait meanwhile."""
    place = connection.settings_dict["NAME"]
    descriptor = directory.fs.create(NAME, directory.descriptor)
    try:
        with _translated(f"the database {place} cannot be copied"):
            if connection.is_in_memory_db():
                connection.ensure_connection()
                directory.write_all(descriptor, connection.connection.serialize())
            else:
                _copy_out(place, directory.path / NAME)
        directory.fs.sync(descriptor)
    finally:
        directory.close(descriptor)
    reason = _damage(directory)
    if reason:
        raise StoreUnavailable(f"the database {place} is damaged ({reason}); copy the file, then repair the database")
    return _counted(directory)


def check(directory: Directory) -> None:
    """Raise DocumentCorrupt where the copy is not a valid database."""
    reason = _damage(directory)
    if reason:
        raise DocumentCorrupt(f"{directory.path / NAME} is damaged ({reason}); nothing was written. Use another backup")


def unknown(connection: Any, directory: Directory) -> list[str]:
    """Return the objects in the copy that neither the migrations make nor the current database has."""
    with _translated(f"the schema of {directory.path / NAME} cannot be read"):
        with contextlib.closing(_open(directory.path / NAME, "mode=ro&immutable=1")) as copy:
            copy.execute("PRAGMA trusted_schema = OFF")
            saved = sqlite_schema.described(copy)
        connection.ensure_connection()
        return sqlite_schema.unknown(saved, sqlite_schema.described(connection.connection))


def load(connection: Any, directory: Directory) -> None:
    """Copy the backup into the database's file, in one transaction of SQLite."""
    place = connection.settings_dict["NAME"]
    with (
        _translated(f"the database {place} was not restored and is unchanged"),
        contextlib.closing(_open(directory.path / NAME, "mode=ro&immutable=1")) as source,
    ):
        if connection.is_in_memory_db():
            connection.ensure_connection()
            source.backup(connection.connection, progress=_until_deadline(), sleep=0.05)
            return
        connection.close()
        with contextlib.closing(_open(place, "mode=rwc")) as target:
            target.execute("PRAGMA synchronous=EXTRA")
            source.backup(target, progress=_until_deadline(), sleep=0.05)


def _copy_out(place: str | Path, to: Path) -> None:
    with (
        contextlib.closing(_open(place, "mode=rw")) as source,
        contextlib.closing(_open(to, "mode=rw")) as target,
    ):
        source.backup(target, progress=_until_deadline(), sleep=0.05)


def _counted(directory: Directory) -> dict[str, int]:
    with contextlib.closing(_open(directory.path / NAME, "mode=ro&immutable=1")) as copy:
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'sqlite_sequence'"
        names = sorted(name for (name,) in copy.execute(f"{tables} ORDER BY name"))
        quoted = {name: '"' + name.replace('"', '""') + '"' for name in names}
        return {name: copy.execute(f"SELECT count(*) FROM {one}").fetchone()[0] for name, one in quoted.items()}  # noqa: S608 -- it is quoted


def _damage(directory: Directory) -> str | None:
    """Return the error that SQLite reports for the copy, or None."""
    with opened(directory, NAME):  # refuses a file that is not regular
        try:
            with contextlib.closing(_open(directory.path / NAME, "mode=ro&immutable=1")) as copy:
                (found,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.Error as problem:
            return driver_message(problem)
    return None if found == "ok" else "integrity_check does not pass"


def _open(path: str | Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(Path(path).absolute()))}?{how}", uri=True, isolation_level=None)


def _until_deadline() -> Callable[[int, int, int], None]:
    """Return a progress callback that ends a copy after other programs have blocked it for too long."""
    deadline = time.monotonic() + _PATIENCE

    def step(status: int, *_: int) -> None:
        if status != _DONE and time.monotonic() > deadline:
            raise StoreUnavailable(
                "other programs blocked the database for too long; nothing was changed. Stop them, then retry"
            )

    return step


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as problem:
        raise StoreUnavailable(
            f"{what}: {driver_message(problem)}; check DATABASE_URL and the disk, then retry"
        ) from problem
