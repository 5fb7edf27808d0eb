"""What the processes of one test run share: a PostgreSQL server, and databases that are made once and then copied."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from tests.support import postgresql

_DIRECTORY, _SERVER, _BACKUPS = "ORB_TESTS_DIRECTORY", "ORB_TESTS_POSTGRESQL", "ORB_TESTS_BACKUPS"
"""Environment variables, which the workers of a run and the processes of its tests inherit."""


def backup_directory() -> str:
    """Return where the tests of this worker, and the processes that they start, keep backups unless they say where."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    known = os.environ.get(_BACKUPS)
    if known is None or not known.endswith(worker):
        known = f"{known or f'{tempfile.gettempdir()}/orb-backups-of-tests-{os.getpid()}'}{worker}"
        atexit.register(shutil.rmtree, known, ignore_errors=True)
    os.environ[_BACKUPS] = known
    return known


@contextmanager
def shared() -> Iterator[None]:
    """Start what the processes of a run share. Without PostgreSQL, each process says by itself that it is missing."""
    with ExitStack() as stack:
        os.environ[_DIRECTORY] = stack.enter_context(tempfile.TemporaryDirectory(prefix="orb-tests-"))
        stack.callback(os.environ.pop, _DIRECTORY)
        try:
            server = stack.enter_context(postgresql.throwaway(max_connections="300"))
        except postgresql.Unavailable:
            pass
        else:
            os.environ[_SERVER] = json.dumps(
                {**vars(server), "binaries": str(server.binaries), "data": str(server.data)}
            )
            stack.callback(os.environ.pop, _SERVER)
        yield


@contextmanager
def postgresql_server() -> Iterator[postgresql.Server]:
    """Yield the server of this run, or one of this process if there is none."""
    if _SERVER not in os.environ:
        with postgresql.throwaway() as server:
            yield server
        return
    place = json.loads(os.environ[_SERVER])
    yield postgresql.Server(**place | {"binaries": Path(place["binaries"]), "data": Path(place["data"])})


def is_shared() -> bool:
    """Tell whether this process is one of several of a run."""
    return _DIRECTORY in os.environ


@contextmanager
def made_once(name: str) -> Iterator[Path]:
    """Yield the path of a file that the first caller of a run makes, and that others copy.

    No other process is in this context for this name at the same time.
    """
    path = Path(os.environ.get(_DIRECTORY) or _own_directory(), name)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path


@cache
def _own_directory() -> str:
    directory = tempfile.mkdtemp(prefix="orb-tests-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
