"""Read replicas: chooses one that has replayed what a reader has to see, and leaves out those that are not fit.

A position is a place in the primary's write-ahead log, in bytes. A replica that has replayed the position that the
primary had after a commit shows that commit. A replica is a database in DATABASES whose `REPLICA_OF` is the alias of
its primary. Every process judges the replicas by itself.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from django.db import DatabaseError, connections

from orbsite.storage.database_errors import sqlstate
from orbsite.storage.driver_errors import driver_message
from orbsite.storage.errors import StoreUnavailable

logger = logging.getLogger(__name__)

REPLICA_OF = "REPLICA_OF"
MAX_LAG = 10.0
"""The number of seconds that a replica may be behind its primary."""
_ASKED_EVERY = 1.0
"""The seconds between two questions to the primary, after which a replica that is behind is asked again, too."""
_LEFT_OUT_FOR = 5.0
"""The number of seconds after an error for which a replica is not used."""
_PASSING = ("40001", "40P01", "57014")
"""A conflict with the replay, and a statement that took too long: the replica itself is fit."""
_POSITION = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})", re.ASCII)
_AFTER_COMMIT = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
"""The position after every commit, also after one that is not on disk yet (`synchronous_commit=off`)."""
_SENT = "SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn"
"""The position up to which replicas can have the log."""
_OF_REPLICA = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn() - '0/0'::pg_lsn"

T = TypeVar("T")

_reading_from: ContextVar[str | None] = ContextVar("orb_reading_from", default=None)


class Condition(StrEnum):
    """The condition of a replica."""

    FIT = "fit"
    LAGGING = "lagging"
    UNREACHABLE = "unreachable"
    PROMOTED = "promoted"


def parse(text: str) -> int | None:
    """Return the position that a text such as `1A/2B3C` spells, None for another text."""
    match = _POSITION.fullmatch(text)
    return None if match is None else int(match[1], 16) << 32 | int(match[2], 16)


def spell(position: int) -> str:
    """Return a position as PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def replicas_of(using: str = "default") -> list[str]:
    """Return the aliases of the replicas of a database."""
    return [alias for alias, database in connections.settings.items() if database.get(REPLICA_OF) == using]


def reading_from() -> str | None:
    """Return the alias of the replica that this thread reads from at present, None for the primary."""
    return _reading_from.get()


def position(using: str = "default") -> int | None:
    """Return the position of a primary that has replicas, None if it has none, or cannot be asked.

    Asked after a commit or a read, it covers all that was committed or seen.
    """
    if not replicas_of(using):
        return None
    try:
        return int(_row(using, _AFTER_COMMIT)[0])
    except DatabaseError as problem:
        logger.warning("the primary does not tell its position: %s", driver_message(problem))
        return None


def read_from_replica(act: Callable[[], T], after: int, using: str = "default") -> tuple[T, bool]:
    """Return what an action reads from a fit replica that has replayed a position, or from the primary.

    The second value tells whether it came from a replica. An action that fails on a replica is repeated elsewhere, so
    it must not write. It is the caller that says that the result may be up to MAX_LAG seconds old.
    """
    if not connections[using].in_atomic_block:
        while (alias := _replicas.choose(using, after)) is not None:
            token = _reading_from.set(alias)
            try:
                return act(), True
            except (DatabaseError, StoreUnavailable) as problem:
                _replicas.failed(alias, problem)
            finally:
                _reading_from.reset(token)
    return act(), False


def conditions(using: str = "default") -> dict[str, Condition]:
    """Return the condition of each replica of a database; it is asked, unless it is left out at present.

    Raises DatabaseError if the primary cannot be asked.
    """
    return {alias: _replicas.condition(using, alias) for alias in replicas_of(using)}


@dataclass
class _Known:
    """What a process knows of one replica; times are those of the monotonic clock."""

    left_out_until: float = float("-inf")
    condition: Condition = Condition.FIT


class Replicas:
    """The replicas as one process knows them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._history: dict[str, deque[tuple[float, int]]] = {}
        """The positions of each primary in the last MAX_LAG seconds, with their times, oldest first."""
        self._lock = threading.Lock()
        self._turn = 0

    def choose(self, using: str, after: int) -> str | None:
        """Return a replica that is fit and has replayed a position, None if there is none."""
        aliases = replicas_of(using)
        self._turn += 1
        for number in range(len(aliases)):
            alias = aliases[(self._turn + number) % len(aliases)]
            if self._is_fit(using, alias, after):
                return alias
        return None

    def failed(self, alias: str, problem: Exception) -> None:
        """Leave out a replica for some seconds, except after an error that says nothing of its condition."""
        known = self._known.setdefault(alias, _Known())
        seconds = _ASKED_EVERY if sqlstate(problem) in _PASSING else _LEFT_OUT_FOR
        self._leave_out(alias, known, Condition.UNREACHABLE, seconds, driver_message(problem))
        connections[alias].close()

    def condition(self, using: str, alias: str) -> Condition:
        """Return the condition of a replica, which is asked unless it is left out at present."""
        known = self._known.setdefault(alias, _Known())
        if known.left_out_until <= self._clock():
            self._ask(using, alias, known)
        return known.condition

    def _is_fit(self, using: str, alias: str, after: int) -> bool:
        known = self._known.setdefault(alias, _Known())
        if known.left_out_until > self._clock():
            return False
        replayed = self._ask(using, alias, known)
        return replayed is not None and replayed >= after

    def _ask(self, using: str, alias: str, known: _Known) -> int | None:
        """Ask a replica for its condition, and return the position that it has replayed, None if it is not fit.

        The answer holds for this connection alone: a replica that starts again may have to replay a part once more.
        """
        floor, is_old = self._floor(using)
        try:
            is_replica, replayed = _row(alias, _OF_REPLICA)
        except DatabaseError as problem:
            self._leave_out(alias, known, Condition.UNREACHABLE, _LEFT_OUT_FOR, driver_message(problem))
            connections[alias].close()
            return None
        if not is_replica:
            self._leave_out(alias, known, Condition.PROMOTED, _LEFT_OUT_FOR, "it is no standby any more")
            return None
        if known.left_out_until > self._clock():  # by another thread, after the replica was asked
            return None
        behind = floor - int(replayed or 0)
        if behind <= 0:
            self._become(alias, known, Condition.FIT, "it is used")
            return int(replayed)
        if is_old:
            self._leave_out(alias, known, Condition.LAGGING, _ASKED_EVERY, f"{behind} bytes behind")
        return None

    def _floor(self, using: str) -> tuple[int, bool]:
        """Return the position that a fit replica has replayed, and whether the primary had it MAX_LAG seconds ago.

        A process that has not asked the primary for so long demands the oldest position that it knows.
        """
        with self._lock:
            history, now = self._history.setdefault(using, deque()), self._clock()
            if not history or now - history[-1][0] >= _ASKED_EVERY:
                history.append((now, int(_row(using, _SENT)[0])))
            while history[0][0] < now - MAX_LAG - _ASKED_EVERY or (len(history) > 1 and history[1][0] <= now - MAX_LAG):
                history.popleft()
            return history[0][1], history[0][0] <= now - MAX_LAG

    def _leave_out(self, alias: str, known: _Known, condition: Condition, seconds: float, why: str) -> None:
        known.left_out_until = self._clock() + seconds
        self._become(alias, known, condition, why)

    def _become(self, alias: str, known: _Known, condition: Condition, why: str) -> None:
        if known.condition is not condition:
            logger.warning("the replica %s is %s: %s", alias, condition, why)
        known.condition = condition


def _row(alias: str, statement: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


_replicas = Replicas()
