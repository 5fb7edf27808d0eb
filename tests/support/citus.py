"""A cluster with Citus for the tests, of which ORB_TEST_CITUS names a database that knows the workers."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

ADDRESS = os.environ.get("ORB_TEST_CITUS", "")
MISSING = "ORB_TEST_CITUS is not set: no cluster with Citus (docs/how-to/several-servers.md says how to start one)"

OF_SQLITE = {
    "tests/operations/migration/test_bad_rows.py": "it writes cells of types that only SQLite takes",
    "tests/operations/migration/test_one_in_many.py": "it writes cells of types that only SQLite takes",
    "tests/operations/migration/test_lost_answers.py": "it sets the numbers of rows in SQLite",
    "tests/operations/migration/test_round_trip.py::test_files_drawn_by_lot": "it watches by triggers of SQLite",
    "tests/operations/migration/test_round_trip.py::test_only_the_rows": "it watches by triggers of SQLite",
    "tests/operations/migration/test_rollback.py::test_rows_that_came_from_another_database": "it numbers the runs of SQLite anew",
    "tests/operations/retention/test_retention.py::test_a_time_that_cannot_be_read": "it writes a time that SQLite takes",
    "tests/api/test_unreadable.py": "it writes cells of types that only SQLite takes",
    "tests/api/test_tokens.py::test_who_reads": "it makes SQLite read-only",
    "tests/api/test_users.py::test_while_a_run": "it holds the lock of runs by a file beside SQLite",
    "tests/operations/records/test_erase.py::test_while_a_run": "it holds the lock of runs by a file beside SQLite",
    "tests/operations/records/test_erase.py::test_no_word_stays": "it reads the index of words of SQLite",
    "tests/operations/records/test_erase.py::test_the_receipt_names": "it names the file of SQLite in a backup",
}
"""The tests of SQLite among the suites that run on the cluster, where they are skipped, with the reason."""


def workers() -> list[tuple[str, int]]:
    """Return the hosts and ports of the workers."""
    with psycopg.connect(ADDRESS, autocommit=True) as connection:
        return connection.execute("SELECT nodename, nodeport FROM pg_dist_node WHERE groupid > 0").fetchall()


def coordinator() -> tuple[str, int]:
    """Return the host and the port of the coordinator."""
    with psycopg.connect(ADDRESS) as connection:
        return connection.info.host, connection.info.port


@contextmanager
def session(database: str, place: tuple[str, int] | None = None) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection to a database on one node, by default the coordinator."""
    host, port = place or coordinator()
    named = psycopg.conninfo.make_conninfo(ADDRESS, host=host, port=port, dbname=database)
    with psycopg.connect(named, autocommit=True, options="-c client_min_messages=error") as connection:
        yield connection


@dataclass(frozen=True)
class Worker:
    """A worker that can be stopped at once, as by a power failure, and started again; it has to run on this machine."""

    data: Path
    program: Path

    @classmethod
    def at(cls, place: tuple[str, int]) -> Worker:
        """Return the worker at a host and port. Raises FileNotFoundError for one on another machine."""
        with session("postgres", place) as connection:
            (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        return cls(Path(data), Path(f"/proc/{_process(Path(data))}/exe").readlink())

    def stop(self) -> None:
        """End all of its processes at once; what was not committed is lost."""
        os.kill(_process(self.data), signal.SIGQUIT)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        owner = self.data.stat()
        command = [self.program.with_name("pg_ctl"), "-D", self.data, "-l", self.data / "log", "-w", "start"]
        subprocess.run(
            list(map(str, command)), user=owner.st_uid, group=owner.st_gid, check=True, stdout=subprocess.DEVNULL
        )


def _process(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().split()[0])


def extend(database: str, *, has_workers: bool = True) -> None:
    """Make a database of the coordinator, which exists, one of the cluster: with the extension on every node."""
    name, place = sql.Identifier(database), coordinator()
    for worker in workers():
        with session("postgres", worker) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        with session(database, worker) as connection:
            connection.execute("CREATE EXTENSION citus")
    with session(database) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS citus")
        connection.execute("SELECT citus_set_coordinator_host(%s, %s)", place)
        for worker in workers() if has_workers else ():
            connection.execute("SELECT citus_add_node(%s, %s)", worker)


def remove(database: str, *, is_made_again: bool = False) -> None:
    """Remove a database from every node; make it again on the coordinator, without anything, for others to remove."""
    name = sql.Identifier(database)
    for place in (coordinator(), *workers()):
        with session("postgres", place) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
    if is_made_again:
        with session("postgres") as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
