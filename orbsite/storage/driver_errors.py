"""Safe texts of database drivers' errors: the code, and the primary message without any value of a row.

The full text of such an error may contain user data: PostgreSQL adds DETAIL with the values of a key, and CONTEXT with
the line that COPY was reading; SQLite quotes text that is not UTF-8. Every message in this project about a driver's
error comes from `driver_message`.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from typing import TYPE_CHECKING, Any, TypeGuard

from django.db import Error as DjangoDatabaseError

if TYPE_CHECKING:
    import psycopg

_NAMES_ALONE = ("08", "23", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58")
"""Classes of SQLSTATE whose primary messages quote names of the schema and of roles, and no values."""
_SYNTAX_ERROR = "42601"  # the message quotes the statement, and a search statement contains user text
_RAISED = "exec_stmt_raise"  # the message can be any text, because a database function wrote it
_VALUE = re.compile("[\"'`«»„“”\u2018\u2019:\\[\\n]|0x")
"""The characters at which a message may begin to quote a value."""
_WORD = r'[\w."]+'
_OF_SQLITE = re.compile(
    rf"(?:UNIQUE|NOT NULL|FOREIGN KEY|PRIMARY KEY|CHECK) constraint failed(?:: {_WORD}(?:, {_WORD})*)?"
    rf"|no such (?:table|index|trigger|view): {_WORD}|(?:table|index) {_WORD} already exists"
    rf"|table {_WORD} has no column named {_WORD}",
    re.ASCII,
)
"""SQLite messages that end in a schema name and contain no values."""
_CREDENTIALS = re.compile(r"[^\s\"']*@")


def driver_message(problem: BaseException) -> str:
    """Return a safe, one-line text for an error that a database driver or Django raised.

    The text is PostgreSQL's primary message, or SQLite's message, without values, and then the code. For Django's own
    errors it is the name of the type; for all other errors, the error's text.
    """
    driver_error = _of_driver(problem)
    if _is_of_psycopg(driver_error):
        return _of_postgresql(driver_error)
    if isinstance(driver_error, sqlite3.Error):
        return _of_sqlite(driver_error)
    is_ours = type(problem).__module__.partition(".")[0] == __name__.partition(".")[0]
    return type(problem).__name__ if isinstance(problem, DjangoDatabaseError) and not is_ours else str(problem)


def is_of_driver(problem: BaseException) -> bool:
    """Tell whether an error's own text may hold values of rows."""
    return isinstance(problem, sqlite3.Error | DjangoDatabaseError) or _is_of_psycopg(problem)


def _is_of_psycopg(problem: BaseException | None) -> TypeGuard[psycopg.Error]:
    """Tell whether psycopg raised an error. It is optional, so it is not imported here: its errors have imported it."""
    driver = sys.modules.get("psycopg")
    return driver is not None and isinstance(problem, driver.Error)


def without_values(message: str) -> str:
    """Return a database's message, cut off where it begins to quote a value."""
    match = _VALUE.search(message)
    return message if match is None else f"{message[: match.start()].rstrip()} …"


def _of_driver(problem: BaseException) -> BaseException:
    """Return the driver's error that Django wrapped, or the error itself."""
    cause = problem.__cause__
    is_wrapped = isinstance(problem, DjangoDatabaseError) and (
        isinstance(cause, sqlite3.Error) or _is_of_psycopg(cause)
    )
    return cause if is_wrapped and cause is not None else problem


def _of_postgresql(problem: psycopg.Error) -> str:
    state = problem.sqlstate
    if state is None:  # the client library raised it: about the connection or about its arguments
        line = " ".join(str(problem).split())
        driver = sys.modules["psycopg"]
        is_of_connection = isinstance(problem, driver.OperationalError | driver.InterfaceError)
        return _CREDENTIALS.sub("…@", line) if is_of_connection else without_values(line)
    primary = _primary(problem, state)
    name = type(problem).__name__
    return f"{primary} (SQLSTATE {state}, {name})" if primary else f"{name} (SQLSTATE {state})"


def _primary(problem: psycopg.Error, state: str) -> str:
    primary = str(getattr(problem.diag, "message_primary", None) or "")
    if state.startswith("P0") or problem.diag.source_function == _RAISED:
        return ""
    is_safe = state.startswith(_NAMES_ALONE) and state != _SYNTAX_ERROR
    return " ".join(primary.split()) if is_safe else without_values(primary)


def _of_sqlite(problem: sqlite3.Error) -> str:
    code: Any = getattr(problem, "sqlite_errorcode", None)
    name = getattr(problem, "sqlite_errorname", "")
    text = str(problem)
    if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:  # the message can be any text, because a trigger wrote it
        return f"a trigger refused it ({name})"
    safe_text = text if _OF_SQLITE.fullmatch(text) else without_values(text)
    return f"{safe_text} ({name})" if name else safe_text
