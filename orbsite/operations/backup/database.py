"""The whole SQL database in one file: how it is written, and how it is put back."""

from __future__ import annotations

import platform
from typing import Any, Protocol

import django
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from orbsite.operations.backup import postgresql, sqlite
from orbsite.operations.backup.manifest import SavedDatabase, counted, stored
from orbsite.storage.errors import DocumentCorrupt, OrbError, StoreUnavailable
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.file_checks import explained_by_system


class Vendor(Protocol):
    """How a database of one kind is written to a file in a directory, and put back."""

    NAME: str
    """The file's name."""

    def save(self, connection: Any, directory: Directory) -> dict[str, int]:
        """Write it, private and synced, as of one moment; return how many rows each table had then."""

    def check(self, directory: Directory) -> None:
        """Raise OrbError where what was written is not good."""

    def unknown(self, connection: Any, directory: Directory) -> list[str]:
        """Return what the written database has that neither the migrations make nor the database of now has."""

    def load(self, connection: Any, directory: Directory) -> None:
        """Put it in the place of everything, all or nothing."""


_MOST_NAMED = 10
_VENDORS: dict[str, Vendor] = {"sqlite": sqlite, "postgresql": postgresql}


def save(directory: Directory, using: str) -> SavedDatabase:
    """Write everything that the database holds, committed, at one moment. Raises StoreUnavailable."""
    connection = connections[using]
    vendor = _of(connection)
    migrations = applied(using)
    counts = vendor.save(connection, directory)
    return SavedDatabase(
        file=stored(directory, vendor.NAME), vendor=connection.vendor, migrations=migrations, rows=counts
    )


def load(directory: Directory, using: str) -> None:
    """Put what was saved in the place of everything that the database holds, all or nothing.

    Raises StoreUnavailable, and the database is as it was.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        raise OrbError("a database is not restored within a transaction; end that first")
    _of(connection).load(connection, directory)


def refuse_other(saved: SavedDatabase, directory: Directory, using: str) -> None:
    """Raise OrbError where what was saved does not fit the database of now, or the code that works on it."""
    connection = connections[using]
    if saved.vendor != connection.vendor or saved.file.name != _of(connection).NAME:
        raise OrbError(
            f"the backup is of a {saved.vendor} database, and DATABASE_URL names a {connection.vendor} one; "
            "point DATABASE_URL at a database of that kind, or restore the files alone with --no-database"
        )
    known, there = set(MigrationLoader(None).disk_migrations), set(saved.migrations)
    # What the database remembers of apps that are gone is in it now as well.
    differ = (known - there) | (there - known - set(applied(using)))
    if differ:
        names = ", ".join(f"{app}.{name}" for app, name in sorted(differ))
        raise OrbError(
            f"the backup has other migrations than this code: {names}; restore it with the version of the code that "
            "made it, then update, and run: manage.py migrate. Files alone: --no-database"
        )
    vendor = _of(connection)
    vendor.check(directory)
    if unknown := vendor.unknown(connection, directory):
        raise DocumentCorrupt(
            f"the database in {directory.path} has what the migrations do not make: {_listed(unknown)}; nothing was "
            "written. It may run on its own and change what is saved. Use another backup, or make the same in the "
            "database first where it is yours"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(ascii, names[:_MOST_NAMED])) + more


def make_place(saved: SavedDatabase, using: str) -> None:
    """Make an empty SQLite file where there is none, for what was saved of one. Raises StoreUnavailable."""
    connection: Any = connections[using]
    if connection.vendor == saved.vendor and hasattr(connection, "create_file"):
        try:
            connection.create_file()
        except OSError as problem:
            told = explained_by_system(problem, "made")
            raise StoreUnavailable(f"the database {told}; nothing was written") from problem


def applied(using: str) -> list[tuple[str, str]]:
    """Return app and name of the migrations that a database has."""
    return sorted(MigrationRecorder(connections[using]).applied_migrations())


def rows(using: str) -> dict[str, int]:
    """Return how many rows each table has."""
    return counted(connections[using])


def versions(using: str | None) -> dict[str, str]:
    """Return the versions of what was at work, with a database also that one's."""
    found = {"python": platform.python_version(), "django": django.get_version()}
    if using is None:
        return found
    connection = connections[using]
    return found | {connection.vendor: ".".join(map(str, connection.get_database_version()))}


def _of(connection: Any) -> Vendor:
    try:
        return _VENDORS[connection.vendor]
    except KeyError as problem:
        raise StoreUnavailable(
            f"there is no way here to back up a {connection.vendor} database; use its own tools, and --no-database"
        ) from problem
