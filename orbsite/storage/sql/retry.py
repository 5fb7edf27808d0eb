"""Retries of SQL transactions: a conflict with another transaction is retried, an unknown outcome never is."""

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
"""Seconds after which there are no more retries; each attempt may wait for a lock until its own deadline."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_RETRYABLE = {"40001", "40P01", "55P03"}
"""Serialization failure, deadlock and lock timeout: the transaction was rolled back, and may succeed when retried."""
_LOST = ("08", "57P", "25P03", "25P04")
"""The SQLSTATEs of connections that the server closes; often there is none."""

_draw = random.SystemRandom().uniform  # unlike a seeded generator, it never repeats in forked processes

T = TypeVar("T")


class TransactionRetry:
    """Runs an action in a transaction, and retries it after conflicts with other transactions, at most five times."""

    def __init__(
        self,
        using: str,
        draw: Callable[[float, float], float] = _draw,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._using, self._draw, self._sleep = using, draw, sleep

    def run(self, act: Callable[[], T]) -> T:
        """Run an action, commit, and return its result.

        Within a caller's transaction the action runs only once, and the database's error is raised, because only the
        caller can repeat the whole transaction. Otherwise raises LockTimeout, StoreUnavailable and SaveFailed if
        nothing was written, and SaveOutcomeUnknown if the commit was not confirmed.
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
                if not _is_retryable(problem):
                    raise self._ended(problem, is_committing=is_committing) from problem
                if number > RETRIES or time.monotonic() - began > PATIENCE:
                    raise _given_up(problem, number) from problem
                logger.info("a save conflicted with another transaction (%s), attempt %d", _name(problem), number)
            else:
                return result
            self._sleep(self._draw(0, min(_FIRST_PAUSE * 2 ** (number - 1), _LONGEST_PAUSE)))

    def _ended(self, problem: Exception, *, is_committing: bool) -> OrbError:
        """Return the OrbError for an error that is not retried; a lost connection is closed."""
        refused = refusal(problem, self._using)
        if refused is not None:
            return refused
        if _is_an_answer(problem):
            return SaveFailed(f"the database refused the save, and nothing was written: {driver_message(problem)}")
        connections[self._using].close()
        if is_committing:
            return SaveOutcomeUnknown(
                f"the database did not confirm the save, which may or may not have taken place: "
                f"{driver_message(problem)}. Read the keys again: "
                "if the saved records are missing, save them again, with the same `expect`; an add can be repeated "
                "without a check"
            )
        return StoreUnavailable(
            f"the connection to the database was lost before the save was committed, and nothing was written: "
            f"{driver_message(problem)}. "
            "Check that the database runs, then try again"
        )


def _given_up(problem: Exception, number: int) -> LockTimeout:
    return LockTimeout(
        f"the save conflicted with other transactions {number} times ({_name(problem)}), and nothing was written; try "
        "again later, and if it fails again, look for a transaction that was left open"
    )


def _is_in_a_transaction(connection: Any) -> bool:
    """Tell whether a caller's transaction is open, or autocommit is off, which has the same effect."""
    is_open = connection.connection is not None
    return bool(connection.in_atomic_block or (is_open and not connection.autocommit))


def _is_retryable(problem: Exception) -> bool:
    return sqlite_code(problem) in _BUSY or sqlstate(problem) in _RETRYABLE


def _is_an_answer(problem: Exception) -> bool:
    """Tell whether the database itself reported the error, so that the transaction was rolled back.

    A lost connection reports nothing, and SQLite may report an I/O error after the commit has taken effect.
    """
    code, state = sqlite_code(problem), sqlstate(problem)
    return code != sqlite3.SQLITE_IOERR if code else bool(state) and not state.startswith(_LOST)


def _name(problem: Exception) -> str:
    return type(problem.__cause__).__name__ if sqlstate(problem) else driver_message(problem)
