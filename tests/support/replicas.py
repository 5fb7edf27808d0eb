"""A primary with the tables of production and standbys of it, and clients that read what they have just written."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from django.db import connections

from orbsite.storage.postgresql.replicas import REPLICA_OF, parse, position, read_from_replica, reading_from, spell
from orbsite.storage.sql.store import SqlStore
from orbsite.testing.cases import moment
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.postgresql import Server, standby, throwaway
from tests.support.scratch import ALIAS, known_as
from tests.support.time_limits import time_limit
from tests.torture.databases import migrated

REPLICA = "scratch-replica"
NAME = "orb"


@contextmanager
def primary(work: Path) -> Iterator[Server]:
    """Run a server with the tables of production."""
    with ExitStack() as stack:
        tables = stack.enter_context(migrated("postgresql", work))
        server = stack.enter_context(throwaway(max_connections="100"))
        asked(server, f"CREATE DATABASE {NAME}", name="postgres")
        dump = [f"{server.binaries}/pg_dump", "-h", tables.place["HOST"], "-U", server.user, tables.place["NAME"]]
        load = [f"{server.binaries}/psql", "-q", "-h", server.host, "-U", server.user, NAME]
        made = subprocess.run(dump, check=True, capture_output=True)
        subprocess.run(load, check=True, input=made.stdout, stdout=subprocess.DEVNULL)
        yield server


@contextmanager
def replicated(of: Server) -> Iterator[Server]:
    """Run a standby of a server, and give Django both of them."""
    with standby(of) as server, known_as(ALIAS, _settings(of)), ExitStack() as stack:
        stack.enter_context(known_as(REPLICA, {**_settings(server), REPLICA_OF: ALIAS}))
        caught_up(of, server)
        yield server


def _settings(server: Server) -> dict[str, Any]:
    place = {"NAME": NAME, "HOST": server.host, "PORT": str(server.port), "USER": server.user}
    usual = {**connections.databases["default"], "OPTIONS": {"connect_timeout": 2}}
    return {**usual, **place, "ENGINE": "django.db.backends.postgresql"}


def address(server: Server) -> str:
    """Return the server's DATABASE_URL."""
    return f"postgres://{server.user}@/{NAME}?host={server.host}"


def asked(server: Server, statement: str, *values: Any, name: str = NAME) -> Any:
    """Return a row of a server, without any code of the project."""
    where = {"host": server.host, "port": server.port, "user": server.user, "dbname": name}
    with psycopg.connect(**where, autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchone() if cursor.description else None


def caught_up(of: Server, server: Server) -> None:
    """Wait until a standby has replayed everything."""
    (wanted,) = asked(of, "SELECT pg_current_wal_flush_lsn()::text")
    deadline = time.monotonic() + time_limit(30)
    while not asked(server, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", wanted)[0]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def reflection(name: str, user: str = "ana") -> Reflection:
    return Reflection(
        id=name, user_id=user, session_id="s", input="i", output="o", tags=(), created_at=moment(0)
    )  # fmt: skip


@dataclass
class Outcome:
    """What clients have seen."""

    stale: int = 0
    errors: list[Exception] = field(default_factory=list)
    reads: Counter[str] = field(default_factory=Counter)


def read_own_writes(
    rounds: int, clients: int, between: Callable[[], None] = lambda: None, *, reads: int = 2
) -> Outcome:
    """Let clients save a reflection and read it at once, `rounds` times in all; something happens in the middle.

    With two reads the second is a moment later, when the replica has often caught up.
    """
    outcome = Outcome()

    def client(number: int) -> None:
        store, user = SqlStore(TE, ALIAS), f"user-{number}"
        try:
            for at in range(rounds // clients):
                if number == 0 and at == rounds // clients // 2:
                    between()
                _round(store, reflection(f"r-{at}", user), outcome, reads)
        except Exception as problem:  # noqa: BLE001 -- whatever it is, no client may see it
            outcome.errors.append(problem)
        finally:
            for alias in (ALIAS, REPLICA):
                connections[alias].close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def _round(store: SqlStore, saved: Reflection, outcome: Outcome, reads: int) -> None:
    store.put([saved])
    reached = position(ALIAS)
    assert reached is not None
    assert parse(spell(reached)) == reached
    for number in range(reads):
        time.sleep(0.001 * number)
        (found, name), is_of_replica = read_from_replica(lambda: _read(saved), reached, ALIAS)
        outcome.stale += found != saved
        outcome.reads[name] += 1
        assert is_of_replica == (name == REPLICA)


def _read(saved: Reflection) -> tuple[Reflection | None, str]:
    alias = reading_from() or ALIAS
    return SqlStore(TE, alias).fetch(Reflection, [saved.key]).get(saved.key), alias
