"""Measures saves and reads on clusters with Citus of 1, 2 and 3 nodes with data, and on one plain server beside them.

python -m benchmarks.nodes [NUMBER OF REFLECTIONS [REQUESTS]]

ORB_TEST_CITUS names a database of the coordinator that knows the workers; docs/how-to/several-servers.md says how to
start a cluster. All servers have to be on this machine, because the time of their processors is read from it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import figures
from benchmarks.compaction import some
from benchmarks.figures import Bar, Figure
from benchmarks.processes import environment, fresh, step
from benchmarks.reflections import SEED
from tests.support import citus

TITLE = "Saves and reads on several nodes"
NOTES = """
Four processes save and read for a given number of requests; a read returns the latest hundred reflections of a user.
All servers and processes share two cores, so that more nodes cannot be faster here: what counts is how the work is
spread, and what a request costs on the coordinator, which plans each statement and passes the rows on. A statement is
a transaction of a node. The plain server is that of the coordinator, with a database without Citus.
"""
SIZE, REQUESTS, PROCESSES = 20_000, 4000, 4
USERS, PAGE, READS = 400, 100, 0.5
NAME = "orb_bench_nodes"
SETTLED = 2.0
"""Seconds in which the sessions that have ended write their statistics."""
NONE = Bar(0)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Node:
    """A server, and the process that its sessions are children of."""

    place: tuple[str, int]
    process: int

    @classmethod
    def at(cls, place: tuple[str, int]) -> Node:
        """Return the server at a host and port."""
        with citus.session("postgres", place) as connection:
            row = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
        return cls(place, int(str(row and row[0]).split()[0]))

    def processor(self) -> float:
        """Return the seconds of the processor that the server has taken, its ended sessions included."""
        total = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, _, rest = path.read_text().partition(" ")
            except OSError:  # it has ended
                continue
            fields = rest.rpartition(")")[2].split()
            if int(pid) == self.process:
                total += sum(map(int, fields[11:15]))  # with the children that have ended
            elif int(fields[1]) == self.process:
                total += sum(map(int, fields[11:13]))
        return total / _TICKS

    def touched(self) -> tuple[int, int]:
        """Return how many transactions were committed in the database, and how many rows were touched."""
        with citus.session("postgres", self.place) as connection:
            row = connection.execute(
                "SELECT xact_commit, tup_fetched + tup_inserted + tup_updated FROM pg_stat_database WHERE datname = %s",
                [NAME],
            ).fetchone()
        return row or (0, 0)


@contextmanager
def database(nodes: int) -> Iterator[str]:
    """Make a database with tables on some nodes, or without Citus for 0, and yield its address."""
    host, port = citus.coordinator()
    citus.remove(NAME)
    with citus.session("postgres") as connection:
        connection.execute(f"CREATE DATABASE {NAME}")
    address = f"postgres://{psycopg.conninfo.conninfo_to_dict(citus.ADDRESS)['user']}@{host}:{port}/{NAME}"
    try:
        if nodes:
            citus.extend(NAME, has_workers=False)
            with citus.session(NAME) as connection:
                for worker in citus.workers()[:nodes]:
                    connection.execute("SELECT citus_add_node(%s, %s)", worker)
                connection.execute(f"ALTER DATABASE {NAME} SET citus.enable_stat_counters = on")
        fresh(address)
        if nodes:
            command = [sys.executable, "manage.py", "orb_scale_sql", "--engine", "citus", "--apply"]
            subprocess.run(command, env=environment(address), check=True, stdout=subprocess.DEVNULL)
        yield address
    finally:
        citus.remove(NAME)


def fill(number: int) -> dict[str, int]:
    """Fill the table."""
    import django

    django.setup()
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN
    from te.records import Reflection

    store = open_sql_store(DOMAIN)
    for part in some(number):
        owned = [_owned(record, f"user-{at % USERS}") for at, record in enumerate(part)]
        with store.transaction():
            store.insert(store.make_batch(Reflection, owned, [None] * len(owned)), range(len(owned)), None)
    return {"rows": number}


def client(mark: int, requests: int) -> dict[str, float]:
    """Save and read, and return how long that took."""
    import django

    django.setup()
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN
    from te.records import Reflection

    store, draw = open_sql_store(DOMAIN), random.Random(SEED + mark)
    record = next(some(1))[0]
    store.find(Reflection, {"user_id": "user-0"}, limit=PAGE)
    begun, processor = time.perf_counter(), time.process_time()
    for number in range(requests):
        user = f"user-{draw.randrange(USERS)}"
        if draw.random() < READS:
            store.find(Reflection, {"user_id": user}, limit=PAGE)
        else:
            store.put([_owned(record, user, f"new-{mark}-{number}")])
    return {"seconds": time.perf_counter() - begun, "processor": time.process_time() - processor}


def _owned(record: Any, user: str, name: str | None = None) -> Any:
    import msgspec

    return msgspec.structs.replace(record, user_id=user, session_id=f"of-{user}", id=name or record.id)


def measure(size: int, requests: int, number: int) -> list[Figure]:
    """Return the figures of one cluster, or of the plain server for 0."""
    places = [citus.coordinator(), *citus.workers()[:number]]
    with database(number) as address:
        step("benchmarks.nodes", "fill", size, url=address)
        servers = [Node.at(place) for place in places]
        crossed = _crossing(number)
        before = [(server.processor(), *server.touched()) for server in servers]
        found = _clients(address, requests)
        time.sleep(SETTLED)
        spent = [
            tuple(now - then for now, then in zip((server.processor(), *server.touched()), was, strict=True))
            for server, was in zip(servers, before, strict=True)
        ]
        crossed = _crossing(number) - crossed
    name = f"{number} node{'s' if number > 1 else ''}" if number else "a plain server"
    (coordinator, *workers) = spent
    those = workers or [coordinator]
    each = 1e6 / requests
    processor = f"{name}: processor of the"
    return [
        Figure(name=f"{name}: requests a second", value=requests / max(one["seconds"] for one in found)),
        _cost(f"{processor} program, a request", sum(one["processor"] for one in found) * each),
        *([_cost(f"{processor} coordinator, a request", coordinator[0] * each)] if workers else []),
        _cost(f"{processor} {'nodes' if workers else 'server'}, a request", sum(one[0] for one in those) * each),
        _share(f"{name}: statements of the busiest node", [one[1] for one in those]),
        _share(f"{name}: rows touched on the busiest node", [one[2] for one in those]),
        *([Figure(name=f"{name}: requests that asked several shards", value=crossed, bar=NONE)] if number else []),
    ]


def _cost(name: str, micros: float) -> Figure:
    return Figure(name=name, value=micros, unit="µs")


def _share(name: str, numbers: Sequence[float]) -> Figure:
    return Figure(name=name, value=max(numbers), ratio=max(numbers) / max(1, sum(numbers)), peer="x all")


def _crossing(nodes: int) -> int:
    """Return how many statements have asked several shards so far."""
    if not nodes:
        return 0
    with citus.session(NAME) as connection:
        row = connection.execute(
            "SELECT query_execution_multi_shard FROM citus_stat_counters WHERE name = current_database()"
        ).fetchone()
    return int(row[0]) if row else 0


def _clients(address: str, requests: int) -> list[dict[str, float]]:
    command = [sys.executable, "-m", "benchmarks.nodes", "client"]
    others = [
        subprocess.Popen(
            [*command, str(mark), str(requests // PROCESSES)],
            env=environment(address), stdout=subprocess.PIPE, text=True,
        )
        for mark in range(PROCESSES)
    ]  # fmt: skip
    found = [json.loads(other.communicate()[0]) for other in others]
    if any(other.returncode for other in others):
        raise RuntimeError("a process has failed; see its error above")
    return found


def main(size: int = SIZE, requests: int = REQUESTS) -> None:
    """Measure the plain server, then clusters of more and more nodes; nothing where there is no cluster."""
    if not citus.ADDRESS:
        print(f"nothing was measured: {citus.MISSING}")
        return
    numbers = range(len(citus.workers()) + 1)
    figures.record(
        "nodes", size, figures.POSTGRESQL, [one for number in numbers for one in measure(size, requests, number)]
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["fill"]:
        sys.stdout.write(json.dumps(fill(int(sys.argv[2]))))
    elif sys.argv[1:2] == ["client"]:
        sys.stdout.write(json.dumps(client(int(sys.argv[2]), int(sys.argv[3]))))
    else:
        main(*map(int, sys.argv[1:]))
