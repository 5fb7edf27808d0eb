"""A data directory, a database, and manage.py run there in forks, with something in its way."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

from tests.torture.databases import DATA, Database, Row

BEFORE, AFTER = "before", "after"
ONES_OWN = {"run_id", "id", "row_id"}
"""Columns that tell which run wrote a row, and numbers that a database hands out."""

Act = Callable[[int, str], None]


@dataclass(frozen=True)
class Outcome:
    """How a command ended; the code is negative where a signal ended it."""

    code: int
    out: str
    errors: str

    @property
    def report(self) -> dict[str, Any]:
        with suppress(ValueError):
            return dict(json.loads(self.out))
        return {}

    @property
    def is_clear(self) -> bool:
        """Whether it could not run, and says why in words."""
        messages = [one["message"] for one in self.report.get("findings", [])]
        return self.code == 2 and len(messages) == 1 and bool(messages[0]) and "Traceback" not in self.errors

    def __str__(self) -> str:
        return f"exit {self.code}, {self.out[-300:]!r}, {self.errors[-1500:]!r}"


@dataclass
class Started:
    """A command under way."""

    pid: int
    place: Path

    def wait(self) -> Outcome:
        _, status = os.waitpid(self.pid, 0)
        return self.ended(status)

    def ended(self, status: int) -> Outcome:
        out, errors = (self.place.with_suffix(end) for end in (".out", ".err"))
        return Outcome(os.waitstatus_to_exitcode(status), out.read_text(), errors.read_text())

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@dataclass
class Site:
    """Where a migrator works."""

    base: Path
    database: Database
    batch: int = 200
    options: tuple[str, ...] = ("--no-backup",)
    numbers: Iterator[int] = field(default_factory=count)

    def start(self, *arguments: object, before: Callable[[], None] = lambda: None, **place: Any) -> Started:
        """Start manage.py in a fork; `before` is called there first, and `place` is another way to the database."""
        started = Started(0, self.base.with_name(f"{self.base.name}-{os.getpid()}-{next(self.numbers)}"))
        for end in (".out", ".err"):
            started.place.with_suffix(end).touch()
        started.pid = os.fork()
        if started.pid:
            return started
        try:
            for end, number in ((".out", 1), (".err", 2)):
                os.dup2(os.open(started.place.with_suffix(end), os.O_WRONLY), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            code = self._run([*map(str, arguments)], before, place)
        except BaseException:  # noqa: BLE001 -- a fork never returns into its parent's code
            traceback.print_exc()
            code = 70
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)

    def run(self, *arguments: object, **options: Any) -> Outcome:
        """Do the same, and wait for its end."""
        return self.start(*arguments, **options).wait()

    def migrate(self, **options: Any) -> Outcome:
        return self.start_migration(**options).wait()

    def start_migration(self, **options: Any) -> Started:
        return self.start("migrate_orb_files", "--data-dir", self.base, "--format", "json", *self.options, **options)

    def _run(self, arguments: list[str], before: Callable[[], None], place: dict[str, Any]) -> int:
        from django.core.management import ManagementUtility
        from django.db import connections

        connections.settings["default"].update(self.database.place | place)
        limit_batches(self.batch)
        before()
        try:
            ManagementUtility(["manage.py", *arguments]).execute()
        except SystemExit as end:
            return int(end.code or 0)
        return 0


def limit_batches(size: int) -> None:
    """Make every transaction of a migration small, and every page of a rollback."""
    from orbsite.operations.migration import batches, rollback
    from orbsite.operations.migration import run as transfer
    from orbsite.storage.sql.store import SqlStore

    wanted = [(batches, "SIZE", size), (transfer, "_PARTS", 1), (rollback, "_BATCH", size)]
    for module, name, number in wanted:
        if not isinstance(getattr(module, name), int):
            raise TypeError(f"{module.__name__}.{name} is no number that could be made small")
        setattr(module, name, number)
    (SqlStore.written_by.__kwdefaults__ or {})["page"] = size


def at_each_commit(act: Act, *, early: bool = False) -> None:
    """Call `act` before and after whatever makes a change lasting, with its number; `early` commits inside batches too."""
    from django.db import connection
    from django.db.backends.base.base import BaseDatabaseWrapper

    number, commit = count(1), BaseDatabaseWrapper._commit

    def around(call: Callable[[], Any]) -> Any:
        this = next(number)
        act(this, BEFORE)
        result = call()
        act(this, AFTER)
        return result

    def execute(call: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        wrapped, writes = context["connection"], str(sql).startswith(("INSERT", "UPDATE", "DELETE"))
        if writes and not wrapped.in_atomic_block:
            return around(lambda: call(sql, params, many, context))
        result = call(sql, params, many, context)
        if early and str(sql).startswith("RELEASE") and not any(wrapped.savepoint_ids):
            around(wrapped.connection.commit)
            if wrapped.vendor == "sqlite":
                wrapped.connection.execute("BEGIN")
        return result

    BaseDatabaseWrapper._commit = lambda wrapped: around(lambda: commit(wrapped))
    connection.execute_wrappers.append(execute)


def killed_at(number: int, when: str, *, early: bool = False) -> Callable[[], None]:
    """Return what makes a process kill itself before or after its commit of that number."""

    def act(this: int, side: str) -> None:
        if (this, side) == (number, when):
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: at_each_commit(act, early=early)


def counted(path: Path, *, early: bool = False) -> Callable[[], None]:
    """Return what makes a process note each of its commits as a byte of a file."""

    def act(this: int, side: str) -> None:
        with path.open("ab") as file:
            file.write(side[:1].encode())

    return lambda: at_each_commit(act, early=early)


def whole(database: Database, columns: str = "*") -> dict[str, list[Row]]:
    """Return every row of the data, by key."""
    return {table: sorted(database.query(f"SELECT {columns} FROM {table}"), key=key_of) for table in DATA}


def key_of(row: Row) -> tuple[str, ...]:
    """Return what names a row for good."""
    return (str(row["user_id"]), str(row["mode_id"])) if "mode_id" in row else (str(row["user_id"]), str(row["id"]))


def content(database: Database) -> str:
    """Return what stands for all the data, whoever wrote it and in which order; reflections' ids count."""
    lines = [
        repr((table, key_of(row), sorted((name, str(value)) for name, value in row.items() if name not in ONES_OWN)))
        for table, rows in whole(database).items()
        for row in rows
    ]
    return sha256("\n".join(lines).encode()).hexdigest()


def ledger(database: Database) -> list[str]:
    """Return what the ledger says of changes and rejects, without the numbers of runs."""
    before_run = "(SELECT id FROM orb_runs WHERE uid = before_run) AS before_run"
    changes = database.query(f"SELECT domain, kind, key, before, {before_run}, before_position, after FROM orb_changes")
    rejects = database.query("SELECT domain, kind, path, reason, original, settled_by_id FROM orb_rejects")
    plain = [{**one, "settled_by_id": one["settled_by_id"] is not None} for one in rejects]
    return sorted(repr(sorted((name, str(value)) for name, value in one.items())) for one in (*changes, *plain))


def spread(
    rounds: Sequence[Any], work: Callable[[int, Sequence[Any]], dict[str, Any]], at_once: int = 2
) -> Counter[str]:
    """Share rounds among forks, and add up the counts that they return; what they say is wrong comes first."""
    from django.db import connections

    connections.close_all()
    readers = []
    for number in range(at_once):
        reading, writing = os.pipe()
        if not os.fork():
            result: dict[str, Any] = {"violations": ["the harness itself failed"]}
            with suppress(BaseException):
                try:
                    result = work(number, rounds[number::at_once])
                except BaseException:  # noqa: BLE001 -- told by the parent
                    result = {"violations": [traceback.format_exc()]}
            with os.fdopen(writing, "w") as pipe:
                json.dump(result, pipe)
            os._exit(0)
        os.close(writing)
        readers.append(reading)
    total: Counter[Any] = Counter()
    found: list[str] = []
    for reading in readers:
        with os.fdopen(reading) as pipe:
            part = json.load(pipe)
        found += part.pop("violations")
        total.update(part)
        os.wait()
    total["violations"] = found  # type: ignore[assignment]
    return total
