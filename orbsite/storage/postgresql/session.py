"""Sessions of PostgreSQL: work that needs one session for longer than a transaction gets one, also past a pooler.

A connection pooler that pools transactions, such as PgBouncer with `pool_mode=transaction`, gives each transaction of
a connection another session of the server. What belongs to a session is lost then, or another client gets it: advisory
locks, temporary tables, `SET`, and the cursors and snapshots that programs such as pg_dump use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import connections

from orbsite.storage.database_errors import place_of
from orbsite.storage.errors import StoreUnavailable

DIRECT = "DIRECT"
"""The key of a database in DATABASES with the settings that lead past its pooler, where they differ."""
_ATTEMPTS = 5


@contextlib.contextmanager
def own_session(using: str = "default") -> Iterator[None]:
    """Let this thread use one session of the server until the block ends.

    If the database has `DIRECT` settings, the thread has a connection of its own to that address meanwhile, under the
    same alias. Within a transaction, and in other databases than PostgreSQL, nothing changes. Raises StoreUnavailable
    where a pooler gives each transaction another session.
    """
    connection: Any = connections[using]
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        yield
        return
    with contextlib.ExitStack() as stack:
        if DIRECT in connection.settings_dict:
            connection = stack.enter_context(_replaced(connection))
        if pools_transactions(connection):
            raise StoreUnavailable(
                f"{place_of(using)} is reached through a connection pooler that pools transactions, and this operation "
                "needs one session; nothing was written. Set DATABASE_DIRECT_URL to an address without the pooler, or "
                "with one that pools sessions, then run it again"
            )
        yield


@contextlib.contextmanager
def _replaced(pooled: Any) -> Iterator[Any]:
    """Replace this thread's connection by one with the `DIRECT` settings, and yield it."""
    direct = direct_connection(pooled)
    connections[pooled.alias] = direct
    try:
        yield direct
    finally:
        connections[pooled.alias] = pooled
        direct.close()


def direct_connection(pooled: Any) -> Any:
    """Return a new connection past the pooler, under the same alias."""
    settings = {**pooled.settings_dict, "DISABLE_SERVER_SIDE_CURSORS": False, **pooled.settings_dict[DIRECT]}
    del settings[DIRECT]
    return type(pooled)(settings, pooled.alias)


def pools_transactions(connection: Any) -> bool:
    """Tell whether a connection outside a transaction goes through a pooler that pools transactions or statements.

    A pooler shows because the process id that the client was told is not that of its session. Such a connection has no
    session of its own if a second connection gets the same one meanwhile.
    """
    connection.ensure_connection()
    session = session_of(connection)
    if connection.connection.info.backend_pid == session:
        return False
    other = connection.copy()
    try:
        return any(session_of(other) == session or session_of(connection) != session for _ in range(_ATTEMPTS))
    finally:
        other.close()


def session_of(connection: Any) -> int:
    """Return the process id of the session that runs this statement."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
