"""What a database's error means to a person: which database, what it refused, and what to do next.

The messages never repeat what a statement was about to write.
"""

from __future__ import annotations

import sqlite3

from django.db import OperationalError, connections

from orbsite.runtime.sqlite.errors import DatabaseMissing
from orbsite.storage.driver_errors import driver_message
from orbsite.storage.errors import OrbError, SaveFailed, StoreUnavailable

_NOTHING = "nothing of this step was written"
_AGAIN = "run it again: it goes on from where it stopped"
_MIGRATE = "run: manage.py migrate"
_OF_SQLITE = {
    sqlite3.SQLITE_FULL: "cannot take this step, and nothing was written: database or disk is full. What was saved "
    f"before is there: make room, then {_AGAIN}",
    sqlite3.SQLITE_READONLY: f"is read-only; {_NOTHING}. Let the user that runs this write to the file and its "
    "directory, on a file system that is mounted for writing, then run it again",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check DATABASE_URL, and that the user that runs this may use the file "
    "and its directory",
    sqlite3.SQLITE_PERM: "may not be used by the user that runs this; run it as the user that owns the file",
    sqlite3.SQLITE_NOTADB: "is no SQLite database; check DATABASE_URL, or restore a backup",
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
    "3D000": "is not there; create it, or check DATABASE_URL",
    "42P01": f"has no such table; {_MIGRATE}",
    "57014": "ended the statement because it took too long; raise ORB_STATEMENT_TIMEOUT, then run it again",
}
_REFUSALS = ("53100", "25006", "42501")


def explained(problem: Exception, using: str = "default") -> str:
    """Return what an error of a database means: where, what, and what to do next."""
    if isinstance(problem, DatabaseMissing):
        return str(problem)
    place = place_of(using)
    told = _OF_SQLITE.get(sqlite_code(problem)) or _OF_POSTGRESQL.get(sqlstate(problem))
    if told is not None:
        return f"{place} {told}"
    message = driver_message(problem)
    if message.startswith("no such table"):
        return f"{place} has {message}; {_MIGRATE}"
    is_of_connection = isinstance(problem, OperationalError) and connections[using].vendor == "postgresql"
    if is_of_connection and not sqlstate(problem):
        return f"{place} cannot be reached: {message}; check DATABASE_URL, and that it runs"
    return f"{place} refused this: {message}; mend that, then run it again"


def refusal(problem: Exception, using: str = "default") -> OrbError | None:
    """Return the error of ours for a database that can be read and not be written to; None for any other error."""
    if isinstance(problem, DatabaseMissing):
        return StoreUnavailable(str(problem))
    if sqlite_code(problem) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY) or sqlstate(problem) in _REFUSALS:
        return SaveFailed(explained(problem, using))
    return None


def place_of(using: str = "default") -> str:
    """Return how to name a database in a message; never its password."""
    connection = connections[using]
    return f"the {connection.vendor} database {connection.settings_dict['NAME']}"


def sqlite_code(problem: BaseException) -> int:
    """Return SQLite's primary result code, 0 where it is no error of SQLite's."""
    return int(getattr(problem.__cause__, "sqlite_errorcode", 0)) & 0xFF


def sqlstate(problem: BaseException) -> str:
    """Return PostgreSQL's code, empty where it is none."""
    return getattr(problem.__cause__, "sqlstate", None) or ""
