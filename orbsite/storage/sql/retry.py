"""Attempts at a save in SQL: again where others were in the way, never where nobody knows what came of it."""

from __future__ import annotations

import logging
import random
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import InterfaceError, InternalError, OperationalError, connections, transaction

from orbsite.storage.database_errors import refusal, sqlite_code, sqlstate
from orbsite.storage.driver_errors import driver_message
from orbsite.storage.errors import LockTimeout, OrbError, SaveFailed, SaveOutcomeUnknown, StoreUnavailable

logger = logging.getLogger(__name__)

RETRIES = 5
PATIENCE = 30.0
"""Seconds after which nothing is tried again: each attempt may have waited for a lock until its own deadline."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_IN_THE_WAY = {"40001", "40P01", "55P03"}
"""A serialization failure, a deadlock, a lock timeout: the transaction is undone, and may well succeed next time."""
_LOST = ("08", "57P", "25P03", "25P04")
"""What a server says of a connection that it closes; often it says nothing."""

_draw = random.SystemRandom().uniform  # no two processes draw the same, forked ones neither

T = TypeVar("T")


class TransactionRetry:
    """Runs what saves in a transaction of its own, again where others were in the way, at most five times."""

    def __init__(
        self,
        using: str,
        draw: Callable[[float, float], float] = _draw,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._using, self._draw, self._sleep = using, draw, sleep

    def run(self, act: Callable[[], T]) -> T:
        """Return what an act returns, committed.

        Within a caller's transaction it is tried once, and the database's error is the caller's, who alone can run all
        of it again. Else raises LockTimeout, StoreUnavailable and SaveFailed, and nothing was written; or
        SaveOutcomeUnknown.
        """
        if _is_in_a_transaction(connections[self._using]):
            with transaction.atomic(self._using):
                return act()
        began, number = time.monotonic(), 0
        while True:
            is_committing = False
            try:
                with transaction.atomic(self._using):
                    result = act()
                    is_committing = True
            except (OperationalError, InterfaceError, InternalError) as problem:
                number += 1
                if not _is_in_the_way(problem):
                    raise self._ended(problem, is_committing=is_committing) from problem
                if number > RETRIES or time.monotonic() - began > PATIENCE:
                    raise _given_up(problem, number) from problem
                logger.info("others were in the way of a save (%s), attempt %d", _name(problem), number)
            else:
                return result
            self._sleep(self._draw(0, min(_FIRST_PAUSE * 2 ** (number - 1), _LONGEST_PAUSE)))

    def _ended(self, problem: Exception, *, is_committing: bool) -> OrbError:
        """Return what an error means that no other attempt is made for; a connection of no more use is closed."""
        refused = refusal(problem, self._using)
        if refused is not None:
            return refused
        if _is_an_answer(problem):
            return SaveFailed(f"the database refused the save, and nothing was written: {driver_message(problem)}")
        connections[self._using].close()
        if is_committing:
            return SaveOutcomeUnknown(
                f"the database did not confirm the save, which may be there or not: {driver_message(problem)}. "
                "Read the keys again: "
                "where what you saved is not there, save it again, with `expect` as before; an add may simply be "
                "repeated"
            )
        return StoreUnavailable(
            f"the database was lost before the save was committed, and nothing was written: "
            f"{driver_message(problem)}. "
            "Check that it runs, then try again"
        )


def _given_up(problem: Exception, number: int) -> LockTimeout:
    return LockTimeout(
        f"others were in the way of the save {number} times ({_name(problem)}), and nothing was written; try again "
        "later, and should it stay so, look for a transaction that was left open"
    )


def _is_in_a_transaction(connection: Any) -> bool:
    """Tell whether a caller's transaction is open, or the caller has turned off autocommit, which means the same."""
    is_open = connection.connection is not None
    return bool(connection.in_atomic_block or (is_open and not connection.autocommit))


def _is_in_the_way(problem: Exception) -> bool:
    return sqlite_code(problem) in _BUSY or sqlstate(problem) in _IN_THE_WAY


def _is_an_answer(problem: Exception) -> bool:
    """Tell whether the database itself said that it undid the transaction.

    A connection that is lost says nothing, and an I/O error of SQLite may come after the commit took effect.
    """
    code, state = sqlite_code(problem), sqlstate(problem)
    return code != sqlite3.SQLITE_IOERR if code else bool(state) and not state.startswith(_LOST)


def _name(problem: Exception) -> str:
    return type(problem.__cause__).__name__ if sqlstate(problem) else driver_message(problem)
