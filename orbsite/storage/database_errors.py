"""Messages for database errors: which database failed, why, and what to do next.

The messages never contain the values that a statement was about to write.
"""

from __future__ import annotations

import sqlite3

from django.db import OperationalError, connections

from orbsite.runtime.home import program
from orbsite.runtime.sqlite.errors import DatabaseMissing
from orbsite.storage.driver_errors import driver_message
from orbsite.storage.errors import OrbError, SaveFailed, StoreUnavailable

_NOTHING = "nothing of this step was written"
_AGAIN = "run it again: it continues where it stopped"
_MIGRATE = f"run: {program()} migrate"
_OF_SQLITE = {
    sqlite3.SQLITE_FULL: "cannot take this step, and nothing was written: database or disk is full. Earlier saves are "
    f"kept: make room, then {_AGAIN}",
    sqlite3.SQLITE_READONLY: f"is read-only; {_NOTHING}. Let the user that runs this write to the file and its "
    "directory, on a file system that is mounted for writing, then run it again",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check DATABASE_URL, and that the user that runs this may use the file "
    "and its directory",
    sqlite3.SQLITE_PERM: "may not be used by the user that runs this; run it as the user that owns the file",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database; check DATABASE_URL, or restore a backup",
    sqlite3.SQLITE_CORRUPT: "is damaged; keep a copy of the file, and restore a backup",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error; check the disk, then run it again",
    sqlite3.SQLITE_BUSY: f"is locked by another process; {_NOTHING}. Wait for it to end, or stop it, then run it again",
}
_OF_POSTGRESQL = {
    "53100": f"reports that its disk is full; {_NOTHING}. Make room on the server, then {_AGAIN}",
    "25006": f"is read-only: a standby, or default_transaction_read_only is on; {_NOTHING}. Let DATABASE_URL name a "
    "database that can be written to",
    "42501": "refuses this to the role in DATABASE_URL, which lacks the privilege; grant it, or use the role that owns "
    "the tables",
    "28P01": "refuses the password; check DATABASE_URL",
    "28000": "refuses the role; check DATABASE_URL",
    "3D000": "does not exist; create it, or check DATABASE_URL",
    "42P01": f"has no such table; {_MIGRATE}",
    "57014": "ended the statement because it took too long; raise ORB_STATEMENT_TIMEOUT, then run it again",
}
_OF_POOLER = {
    "unsupported startup parameter": "is reached through a connection pooler, which refuses the time limits of a "
    "connection; set DATABASE_DIRECT_URL to the address of the server itself: DATABASE_URL sends no limits then",
    "statement pooling mode": f"is reached through a connection pooler that refuses transactions; {_NOTHING}. Set its "
    "pool_mode to transaction, and DATABASE_DIRECT_URL to the address of the server itself",
}
"""The explanations of PgBouncer's errors, by a part of their messages: they have no SQLSTATE of their own."""
_REFUSALS = ("53100", "25006", "42501")


def explained(problem: Exception, using: str = "default") -> str:
    """Return a message for a database error: which database, the cause, and what to do next."""
    if isinstance(problem, DatabaseMissing):
        return str(problem)
    place = place_of(using)
    explanation = _OF_SQLITE.get(sqlite_code(problem)) or _OF_POSTGRESQL.get(sqlstate(problem))
    if explanation is not None:
        return f"{place} {explanation}"
    message = driver_message(problem)
    for part, explanation in _OF_POOLER.items():
        if part in message:
            return f"{place} {explanation}"
    if message.startswith("no such table"):
        return f"{place} has {message}; {_MIGRATE}"
    is_of_connection = isinstance(problem, OperationalError) and connections[using].vendor == "postgresql"
    if is_of_connection and not sqlstate(problem):
        return f"{place} cannot be reached: {message}; check DATABASE_URL, and that the server runs"
    return f"{place} refused this: {message}; fix the cause, then run it again"


def refusal(problem: Exception, using: str = "default") -> OrbError | None:
    """Return an OrbError for a missing, full or read-only database, or one that no transaction reaches; else None."""
    if isinstance(problem, DatabaseMissing):
        return StoreUnavailable(str(problem))
    if sqlite_code(problem) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY) or sqlstate(problem) in _REFUSALS:
        return SaveFailed(explained(problem, using))
    if "statement pooling mode" in driver_message(problem):
        return StoreUnavailable(explained(problem, using))
    return None


def place_of(using: str = "default") -> str:
    """Return the name of a database for messages, without its password."""
    connection = connections[using]
    return f"the {connection.vendor} database {connection.settings_dict['NAME']}"


def sqlite_code(problem: BaseException) -> int:
    """Return SQLite's primary result code, 0 for errors that SQLite did not raise."""
    return int(getattr(problem.__cause__, "sqlite_errorcode", 0)) & 0xFF


def sqlstate(problem: BaseException) -> str:
    """Return PostgreSQL's SQLSTATE, empty for errors that PostgreSQL did not raise."""
    return getattr(problem.__cause__, "sqlstate", None) or ""
