"""What may be repeated of a database driver's error: its code, and its primary message without any value of a row.

The full text of such an error holds what a person wrote: PostgreSQL adds DETAIL with the values of a key, and CONTEXT
with the line that COPY was reading; SQLite quotes the text that is not UTF-8. Every message of this project that tells
of a driver's error is made by `driver_message`.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

import psycopg
from django.db import Error as DjangoDatabaseError

_NAMES_ALONE = ("08", "23", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58")
"""Classes of SQLSTATE whose primary messages quote names of the schema and of roles, and no values."""
_SYNTAX_ERROR = "42601"  # it quotes the statement; that of a search is what a person looked for
_RAISED = "exec_stmt_raise"  # the text is any that a function of the database makes
_VALUE = re.compile("[\"'`«»„“”\u2018\u2019:\\[\\n]|0x")
"""Where a message begins to quote."""
_WORD = r'[\w."]+'
_OF_SQLITE = re.compile(
    rf"(?:UNIQUE|NOT NULL|FOREIGN KEY|PRIMARY KEY|CHECK) constraint failed(?:: {_WORD}(?:, {_WORD})*)?"
    rf"|no such (?:table|index|trigger|view): {_WORD}|(?:table|index) {_WORD} already exists"
    rf"|table {_WORD} has no column named {_WORD}",
    re.ASCII,
)
"""Messages of SQLite whose end is a name of the schema."""
_CREDENTIALS = re.compile(r"[^\s\"']*@")


def driver_message(problem: BaseException) -> str:
    """Return what may be told of an error that a database driver raised, or that Django made of one.

    It is one line: the message that PostgreSQL calls primary, or SQLite's, without values; then the code. Of an error
    of Django's own the type is told; of an error of any other kind, its text.
    """
    driven = _of_driver(problem)
    if isinstance(driven, psycopg.Error):
        return _of_postgresql(driven)
    if isinstance(driven, sqlite3.Error):
        return _of_sqlite(driven)
    is_ours = type(problem).__module__.partition(".")[0] == __name__.partition(".")[0]
    return type(problem).__name__ if isinstance(problem, DjangoDatabaseError) and not is_ours else str(problem)


def is_of_driver(problem: BaseException) -> bool:
    """Tell whether an error's own text may hold values of rows."""
    return isinstance(problem, psycopg.Error | sqlite3.Error | DjangoDatabaseError)


def without_values(message: str) -> str:
    """Return the beginning of a database's message, up to where it quotes."""
    match = _VALUE.search(message)
    return message if match is None else f"{message[: match.start()].rstrip()} …"


def _of_driver(problem: BaseException) -> BaseException:
    """Return the driver's error where Django's own was made of one."""
    cause = problem.__cause__
    is_wrapped = isinstance(problem, DjangoDatabaseError) and isinstance(cause, psycopg.Error | sqlite3.Error)
    return cause if is_wrapped and cause is not None else problem


def _of_postgresql(problem: psycopg.Error) -> str:
    state = problem.sqlstate
    if state is None:  # it is the client that speaks: of the connection, or of what it was given
        line = " ".join(str(problem).split())
        is_of_connection = isinstance(problem, psycopg.OperationalError | psycopg.InterfaceError)
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
    if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:  # the text is any that a trigger makes
        return f"a trigger refused it ({name})"
    told = text if _OF_SQLITE.fullmatch(text) else without_values(text)
    return f"{told} ({name})" if name else told
