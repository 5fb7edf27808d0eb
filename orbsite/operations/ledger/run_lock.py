"""The lock of runs: one run at a time writes to a database, under any name that a program uses for it.

On SQLite the lock is a file beside the real file of the database, on PostgreSQL an advisory lock of a session. Runs
over different data directories may share PostgreSQL's lock; then each also holds the lock of its directory.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.db import connections
from django.db.backends.signals import connection_created

from orbsite.storage.errors import LockTimeout, StoreUnavailable
from orbsite.storage.filesystem.lock import locked_beside
from orbsite.storage.filesystem.mounts import is_mount_point
from orbsite.storage.postgresql.session import own_session

_LOCK = 0x6F72625F72756E73
"""The number of PostgreSQL's advisory lock: "orb_runs"."""

_EXCLUSIVE, _SHARED = "pg_try_advisory_lock", "pg_try_advisory_lock_shared"
_RELEASE = {_EXCLUSIVE: "pg_advisory_unlock", _SHARED: "pg_advisory_unlock_shared"}

_in_memory: set[object] = set()
"""Databases in this process's memory that a run writes to."""
_in_memory_lock = threading.Lock()
_bound: weakref.WeakSet[Any] = weakref.WeakSet()
"""Connections whose session on the server holds the lock of a run."""


@contextlib.contextmanager
def alone(using: str = "default") -> Iterator[None]:
    """Exclude every other run that writes to the same database. Raises LockTimeout where another run is active.

    Raises StoreUnavailable where a lock would not be safe, and, on PostgreSQL, as soon as the run would write in
    another session than the one that holds the lock.
    """
    connection = connections[using]
    with _session(using, [(_EXCLUSIVE, _LOCK)]) if connection.vendor == "postgresql" else _whole(connection):
        yield


@contextlib.contextmanager
def alone_over(source: str, using: str = "default") -> Iterator[None]:
    """Exclude every other run over a source, and every run that does not hold this kind of lock.

    On PostgreSQL, runs over different sources work at the same time; on SQLite they exclude each other. Raises what
    `alone` raises.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        with _whole(connection):
            yield
        return
    with _session(using, [(_SHARED, _LOCK), (_EXCLUSIVE, _number_of(source))]):
        yield


def _whole(connection: Any) -> contextlib.AbstractContextManager[None]:
    """Return the lock of a whole SQLite database."""
    path = _file_of(connection)
    return _claimed(_name_in_memory(connection)) if path is None else _beside(path)


def _number_of(source: str) -> int:
    """Return the number of a source's advisory lock, which is in the range of PostgreSQL's integers of 64 bits."""
    digest = sha256(f"orb_runs {source}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], signed=True)


@contextlib.contextmanager
def _session(using: str, locks: Sequence[tuple[str, int]]) -> Iterator[None]:
    """Hold advisory locks of PostgreSQL in a session of this thread. The server frees them when the session ends."""
    outer: Any = connections[using]
    bound_before = outer in _bound
    _bound.discard(outer)  # after a lost session, a run takes the lock in a new one
    try:
        with own_session(using), contextlib.ExitStack() as held:
            connection: Any = connections[using]
            for how, number in locks:
                with connection.cursor() as cursor:
                    cursor.execute(f"SELECT {how}(%s)", [number])
                    _refuse_unless(bool(cursor.fetchone()[0]))
                held.callback(_release, connection, connection.connection, how, number)
            _bound.add(connection)
            held.callback(_bound.discard, connection)
            yield
    finally:
        if bound_before:
            _bound.add(outer)


def _release(connection: Any, session: Any, how: str, number: int) -> None:
    """Free a lock in the session that holds it. A broken session is closed, which frees the lock too."""
    if connection.connection is None or connection.connection is not session:
        return
    if not connection.is_usable():
        connection.close()
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_RELEASE[how]}(%s)", [number])


def _refuse_another_session(connection: Any, **_: object) -> None:
    if connection in _bound:
        connection.close()
        raise StoreUnavailable(
            "the connection that held the run lock was lost, and this run stopped before it wrote without it; "
            "earlier writes are kept. Check that the database runs, then run it again"
        )


connection_created.connect(_refuse_another_session)


def _file_of(connection: Any) -> Path | None:
    """Return the real path of a SQLite database's file, as SQLite has it open; None for a database in memory."""
    if "memdb" in _parameters(connection).get("vfs", []):
        return None
    with connection.cursor() as cursor:  # as bytes: a path need not be UTF-8
        cursor.execute("SELECT CAST(file AS BLOB) FROM pragma_database_list WHERE name = 'main'")
        path = os.fsdecode(bytes(cursor.fetchone()[0] or b""))
    return Path(path).resolve() if path else None


def _name_in_memory(connection: Any) -> object:
    """Return the identity of a database in memory: its URI, or its only connection."""
    name = str(connection.settings_dict["NAME"])
    return unquote(urlsplit(name).path) if name.startswith("file:") else connection


def _parameters(connection: Any) -> dict[str, list[str]]:
    name = str(connection.settings_dict["NAME"])
    return parse_qs(urlsplit(name).query) if name.startswith("file:") else {}


@contextlib.contextmanager
def _claimed(name: object) -> Iterator[None]:
    with _in_memory_lock:
        _refuse_unless(name not in _in_memory)
        _in_memory.add(name)
    try:
        yield
    finally:
        _in_memory.discard(name)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Hold the lock file beside a database's file. Raises StoreUnavailable where the file has other names."""
    _refuse_other_names(path)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked_beside(path, ".runs.lock"))
        except BlockingIOError:
            _refuse_unless(is_free=False)
        except OSError as problem:
            raise StoreUnavailable(
                f"the lock file {path}.runs.lock, which excludes other runs, cannot be used: {problem.strerror}; "
                "nothing was written. It has to be a regular file that the user of this process can write or create"
            ) from problem
        yield


def _refuse_other_names(path: Path) -> None:
    what = f"the database {path}"
    why = "SQLite keeps its journal beside each name, so that two programs could write at once; nothing was written"
    try:
        names = path.stat().st_nlink
    except OSError as problem:
        raise StoreUnavailable(f"{what} cannot be examined: {problem.strerror}; nothing was written") from problem
    if names > 1:
        raise StoreUnavailable(f"{what} has {names} names (hard links): {why}. Remove the other names, then retry")
    if is_mount_point(path):
        raise StoreUnavailable(
            f"{what} is mounted as a single file: {why}. Mount its directory instead, then try again"
        )


def _refuse_unless(is_free: bool) -> None:
    if not is_free:
        raise LockTimeout("another run writes to this database; wait until it ends, then retry")


def _reset_after_fork() -> None:
    """Reset the locks in a forked child, which has copies of them but opens its own connections."""
    global _in_memory_lock  # noqa: PLW0603 -- a thread that the child lacks may hold it
    _in_memory_lock = threading.Lock()
    _in_memory.clear()
    _bound.clear()


os.register_at_fork(after_in_child=_reset_after_fork)
