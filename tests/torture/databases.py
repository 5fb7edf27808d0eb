"""Databases for harnesses: put back as they were between rounds, and looked at without any code of the project."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.rows import dict_row

from tests.support import postgresql
from tests.support.serving import make_tables
from tests.support.shared_run import made_once, postgresql_server
from tests.support.time_limits import time_limit

DATA = ("luna_profiles", "luna_active_modes", "te_reflections")
LEDGER = ("orb_runs", "orb_changes", "orb_rejects", "orb_bulk_migrations", "orb_bulk_directories")
_PATIENCE = 30.0

Row = dict[str, Any]


class Database(Protocol):
    """One database, of either kind."""

    address: str
    """Its DATABASE_URL."""
    place: dict[str, Any]
    """What Django's settings need to know, past the kind."""

    def sibling(self, number: int) -> Database:
        """Return another one, which is not there yet."""

    def keep(self, name: str) -> None:
        """Remember everything as it is now; nobody else is connected."""

    def back(self, name: str) -> None:
        """Put everything back as it was, or make it so for the first time."""

    def query(self, statement: str) -> list[Row]:
        """Return rows."""

    def execute(self, statement: str) -> int:
        """Change rows; return how many."""

    def settle(self) -> None:
        """Wait until nobody is connected."""


class Sqlite:
    """A file."""

    def __init__(self, work: Path, number: int = 0) -> None:
        self._work, self._path = work, work / f"orb-{number}.sqlite3"
        self.address, self.place = f"sqlite:///{self._path}", {"NAME": str(self._path)}

    def sibling(self, number: int) -> Sqlite:
        return Sqlite(self._work, number)

    def keep(self, name: str) -> None:
        shutil.copyfile(self._path, self._work / name)

    def back(self, name: str) -> None:
        for left in self._path.parent.glob(f"{self._path.name}-*"):
            left.unlink()
        shutil.copyfile(self._work / name, self._path)

    def query(self, statement: str) -> list[Row]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=time_limit(_PATIENCE))) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement)]

    def execute(self, statement: str) -> int:
        with contextlib.closing(
            sqlite3.connect(self._path, timeout=time_limit(_PATIENCE), isolation_level=None)
        ) as connection:
            return connection.execute(statement).rowcount

    def settle(self) -> None:
        pass


class Postgresql:
    """A database of a server of our own; other harnesses' siblings are there too."""

    def __init__(self, server: postgresql.Server, number: int = 0, prefix: str = "orb") -> None:
        self.server, self.name, self._prefix = server, f"{prefix}_{number}", prefix
        self.address = f"postgres://{server.user}@/{self.name}?host={server.host}"
        self.place = {"NAME": self.name, "HOST": server.host, "PORT": str(server.port), "USER": server.user}

    def sibling(self, number: int) -> Postgresql:
        return Postgresql(self.server, number, self._prefix)

    def make(self, template: str = "template1") -> None:
        self._admin(f"CREATE DATABASE {self.name} TEMPLATE {template}")

    def keep(self, name: str) -> None:
        copies = "; ".join(f"CREATE TABLE {name}.{table} AS TABLE public.{table}" for table in LEDGER + DATA)
        self.execute(f"CREATE SCHEMA {name}; {copies}")
        self.settle()

    def back(self, name: str) -> None:
        if not self._admin("SELECT 1 FROM pg_database WHERE datname = %s", self.name):
            self._admin(f"CREATE DATABASE {self.name} TEMPLATE {self._prefix}_0")
        tables = [f"INSERT INTO {table} TABLE {name}.{table}" for table in LEDGER + DATA]
        numbered = {**dict.fromkeys((*LEDGER, "luna_profiles"), "id"), "te_reflections": "row_id"}
        counters = [
            f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), MAX({column})) FROM {table}"
            for table, column in numbered.items()
        ]
        self.settle()
        self.execute("; ".join([f"TRUNCATE {', '.join(LEDGER + DATA)} RESTART IDENTITY", *tables, *counters]))

    def query(self, statement: str) -> list[Row]:
        with self._connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement).fetchall()

    def execute(self, statement: str) -> int:
        with self._connection() as connection:
            return connection.execute(statement).rowcount

    def settle(self) -> None:
        deadline = time.monotonic() + time_limit(_PATIENCE)
        while self._others() and time.monotonic() < deadline:
            time.sleep(0.005)

    def until_connected(self) -> None:
        """Wait until another program is connected to the database."""
        deadline = time.monotonic() + time_limit(_PATIENCE)
        while not self._others() and time.monotonic() < deadline:
            time.sleep(0.005)

    def terminate(self) -> int:
        """End everybody's connections; return how many there were."""
        found = self._admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", self.name)
        return len(found)

    def _others(self) -> int:
        return len(self._admin("SELECT 1 FROM pg_stat_activity WHERE datname = %s", self.name))

    def _connection(self, name: str = "") -> psycopg.Connection[Any]:
        where = {"host": self.server.host, "port": self.server.port, "user": self.server.user}
        return psycopg.connect(dbname=name or self.name, autocommit=True, **where)

    def _admin(self, statement: str, *values: str) -> list[Any]:
        with self._connection("postgres") as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def opened(kind: str, work: Path) -> Iterator[Database]:
    """Have a database of a kind, without tables; PostgreSQL with a server of its own, which may be stopped."""
    if kind == "sqlite":
        yield Sqlite(work)
        return
    with postgresql.throwaway() as server:
        database = Postgresql(server)
        database.make()
        yield database


@contextlib.contextmanager
def migrated(kind: str, work: Path) -> Iterator[Database]:
    """Have a database of a kind with the tables of production; PostgreSQL on the server of this run."""
    if kind == "sqlite":
        make_tables((database := Sqlite(work)).address, work)
        yield database
        return
    with postgresql_server() as server:
        tables = Postgresql(server, prefix="orb_tables")
        with made_once(f"tables-{Path(server.host).name}") as path:
            if not path.exists():
                tables.make()
                make_tables(tables.address, work)
                path.touch()
            copy = Postgresql(server, prefix=f"orb_{secrets.token_hex(4)}")
            copy.make(template=tables.name)
        yield copy
