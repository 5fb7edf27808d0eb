"""Databases of their own for tests of SQL: SQLite in a file, under an alias while it is used, and what goes wrong there."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import OperationalError, connections

from tests.support.shared_run import made_once
from tests.support.time_limits import time_limit

ALIAS = "scratch"
OURS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": time_limit(20),
    "init_command": "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;",
}


@contextmanager
def scratch(path: Path, *, tables: bool = True, **options: Any) -> Iterator[str]:
    """Have a database with our options, or others, and our tables, which are made once in a run and copied."""
    if tables:
        with made_once("scratch.sqlite3") as made:
            if not made.exists():
                _migrate(made)
            shutil.copy(made, path)
    with known_as(ALIAS, _settings(path, options)):
        yield ALIAS


def _migrate(made: Path) -> None:
    unfinished = made.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with known_as(ALIAS, _settings(unfinished, {})):
        call_command("migrate", database=ALIAS, verbosity=0)
    unfinished.rename(made)


def _settings(path: Path, options: dict[str, Any]) -> dict[str, Any]:
    usual = connections.databases["default"]
    return {**usual, "ENGINE": "orbsite.runtime.sqlite", "NAME": str(path), "OPTIONS": {**OURS, **options}}


@contextmanager
def known_as(alias: str, settings: dict[str, Any]) -> Iterator[None]:
    """Give Django one more database."""
    connections.databases[alias] = settings
    try:
        yield
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.databases[alias]


def aside(alias: str, act: Callable[[], Any]) -> None:
    """Do something in another thread, over a connection of its own, and wait for it."""

    def run() -> None:
        try:
            act()
        finally:
            connections[alias].close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(time_limit(20))


def execute(alias: str, statement: str, *values: Any) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone() if cursor.description else None


def of_sqlite(code: int) -> OperationalError:
    cause = sqlite3.OperationalError("as SQLite says it")
    cause.sqlite_errorcode = code
    problem = OperationalError(*cause.args)
    problem.__cause__ = cause
    return problem
