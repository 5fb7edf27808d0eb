"""Saves the whole SQL database to one file, and restores it."""

from __future__ import annotations

import platform
from typing import Any, Protocol

import django
from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from orbsite.operations.backup import sqlite
from orbsite.operations.backup.manifest import SavedDatabase, counted, stored
from orbsite.runtime.home import program
from orbsite.storage.errors import DocumentCorrupt, OrbError, StoreUnavailable
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.file_checks import explained_by_system
from orbsite.storage.postgresql.session import own_session


class Vendor(Protocol):
    """A kind of database: how it is saved to a file in a directory, and restored."""

    NAME: str
    """The name of the file."""

    def save(self, connection: Any, directory: Directory) -> dict[str, int]:
        """Write the file, private and synced, from one snapshot. Return the row count of each table in it."""

    def check(self, directory: Directory) -> None:
        """Raise OrbError where the file is not valid."""

    def unknown(self, connection: Any, directory: Directory) -> list[str]:
        """Return the saved schema objects that neither the migrations create nor the current database has."""

    def load(self, connection: Any, directory: Directory) -> None:
        """Replace everything in the database with the file, all or nothing."""


_MOST_NAMED = 10


def save(directory: Directory, using: str) -> SavedDatabase:
    """Save all committed data as one snapshot. Raises StoreUnavailable."""
    with own_session(using):
        connection = connections[using]
        vendor = _of(connection)
        migrations = applied(using)
        counts = vendor.save(connection, directory)
    return SavedDatabase(
        file=stored(directory, vendor.NAME), vendor=connection.vendor, migrations=migrations, rows=counts
    )


def load(directory: Directory, using: str) -> None:
    """Replace everything in the database with the saved file, all or nothing.

    Raises StoreUnavailable; the database is unchanged then.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        raise OrbError("a database cannot be restored within a transaction; end the transaction first")
    _of(connection).load(connection, directory)


def refuse_other(saved: SavedDatabase, directory: Directory, using: str) -> None:
    """Raise OrbError where the saved database does not fit the current database or the current code."""
    connection = connections[using]
    if saved.vendor != connection.vendor or saved.file.name != _of(connection).NAME:
        raise OrbError(
            f"the backup is of a {saved.vendor} database, and DATABASE_URL names a {connection.vendor} one; "
            "set DATABASE_URL to a database of that kind, or restore only the files with --no-database"
        )
    known, saved_migrations = set(MigrationLoader(None).disk_migrations), set(saved.migrations)
    # The current database has the migrations of removed apps too.
    differ = (known - saved_migrations) | (saved_migrations - known - set(applied(using)))
    if differ:
        names = ", ".join(f"{app}.{name}" for app, name in sorted(differ))
        raise OrbError(
            f"the migrations of the backup are not those of this code: {names}; restore it with the version of the "
            f"code that made it, then update, and run: {program()} migrate. To restore only the files, use "
            "--no-database"
        )
    vendor = _of(connection)
    vendor.check(directory)
    with own_session(using):
        unknown = vendor.unknown(connections[using], directory)
    if unknown:
        raise DocumentCorrupt(
            f"the database in {directory.path} has objects that the migrations do not create: {_listed(unknown)}; "
            "nothing was written. They may run code and change data. Use another backup, or, where the objects are "
            "yours, create them in the database first"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(ascii, names[:_MOST_NAMED])) + more


def make_place(saved: SavedDatabase, using: str) -> None:
    """Create an empty SQLite file where the target database has none. Raises StoreUnavailable."""
    connection: Any = connections[using]
    if connection.vendor == saved.vendor and hasattr(connection, "create_file"):
        try:
            connection.create_file()
        except OSError as problem:
            reason = explained_by_system(problem, "made")
            raise StoreUnavailable(f"the database {reason}; nothing was written") from problem


def applied(using: str) -> list[tuple[str, str]]:
    """Return the applied migrations of a database as (app, name)."""
    return sorted(MigrationRecorder(connections[using]).applied_migrations())


def rows(using: str) -> dict[str, int]:
    """Return the row count of each table."""
    return counted(connections[using])


def versions(using: str | None) -> dict[str, str]:
    """Return the versions of Python and Django, and that of the database server where one is given."""
    found = {"python": platform.python_version(), "django": django.get_version()}
    if using is None:
        return found
    connection = connections[using]
    return found | {connection.vendor: ".".join(map(str, connection.get_database_version()))}


def _of(connection: Any) -> Vendor:
    if connection.vendor == "sqlite":
        return sqlite
    if connection.vendor == "postgresql":
        from orbsite.operations.backup import postgresql  # it needs psycopg, which is an extra

        return postgresql
    raise StoreUnavailable(
        f"a {connection.vendor} database cannot be backed up here; use its own tools, and --no-database"
    )
