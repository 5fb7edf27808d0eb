"""Measures the migration of a file into SQL, compared with the database drivers on the same rows, in one run.

python -m benchmarks.migration [NUMBER OF REFLECTIONS ...]

Times are of the wall, and on SQLite also of the processor, because a server has processes of its own. The command is a
process of its own: its start is told by a file of one
reflection, its backup by the difference to a command without one.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.figures import Bar, Figure, figure
from benchmarks.processes import database, environment, fresh, peak_of, step
from benchmarks.reflections import FILE, SEED, write
from benchmarks.timing import cost

TITLE = "Migration"
NOTES = """
The driver alone writes prepared rows, in one transaction, into the same table with the same indexes and checks:
`executemany` on SQLite, binary COPY on PostgreSQL, whose server is not in the processor's times. Migration is
reading, checking, decoding, digests, writing, the ledger and the verification of what was written. The command is a
process from its start to its end; its start is that of a file of one reflection. The peak is that of both processes of
the command; its bar includes the 65 MiB that the process has before it reads anything. The file is held once, as bytes.

Profiled on SQLite, µs of the processor for a record, each step by itself: read, hash and check the file 1.7; decode
to entries and find repeated keys 3.9 (a third of it for keys); prepare rows and digests 4.0; insert by statements of
thousands of rows 9.1 (`executemany` 10.9); compare 3.3; checksums of the written rows 5 to 6. The insert is 0.85 x
the driver, so that 1.6 x leaves 7 µs for the rest, of which reading, hashing, checking, decoding once and two SHA-256
are some 6, by estimate. A second process decodes, because threads wait for Python's lock by turns.

Earlier: Django's preparation of values took 22 µs a row (now a column at a time, 2.5), a digest 8.7 µs (now 3), and
one map of all records to find repeated keys most of the memory. On 2026-11-23, a record of 1,000,000 took 1.2 to 1.4
x one of 100,000 on SQLite (the driver alone 1.35 to 1.5 x) and 1.1 x on PostgreSQL, and the peak was 948 MiB.
"""

SIZES, ROUNDS, LARGE = (100_000,), 3, 300_000
"""Sizes, and rounds of sizes that are not large."""
Found = dict[str, dict[str, float]]
"""The times of each step."""
PEAK = Bar(1.5)
BARS: dict[str, dict[str, dict[str, Bar]]] = {
    figures.SQLITE: {
        "wall": {"first": Bar(1.3), "repeat": Bar(0.45), "verified": Bar(0.4), "command": Bar(1.9)},
        "cpu": {"first": Bar(1.6)},
    },
    figures.POSTGRESQL: {
        "wall": {"first": Bar(1.6), "repeat": Bar(0.45), "verified": Bar(0.4), "command": Bar(1.9)},
    },
}
ROWS = (
    ("raw", "the driver alone", "", ""),
    ("first", "first migration, with verification", "raw", "x the driver"),
    ("alone", "the same without verification", "raw", "x the driver"),
    ("verification", "its verification", "first", "x the migration"),
    ("repeat", "repeat, nothing changed", "alone", "x the first without verification"),
    ("verified", "`verify_orb_files`", "first", "x the migration"),
    ("command", "the command, without a backup", "raw", "x the driver"),
    ("start", "its start", "command", "x the command"),
    ("with backup", "the command with a backup", "command", "x the command without"),
    ("sqlite-utils", "sqlite-utils", "first", "x the migration"),
)
"""The name of a step, its label, what it is compared with, and how."""
DATABASES = ("raw", "ours", "one", "command", "backup", "memory")
PEER = (
    "CREATE TABLE te_reflections (id TEXT PRIMARY KEY, user_id TEXT, session_id TEXT, input TEXT, output TEXT, "
    "tags TEXT, notes TEXT, created_at TEXT)"
)
PEER_INDEXES = ("user_id, created_at, id", "session_id, created_at, id", "created_at, id")


def prepared(base: Path) -> tuple[Any, list[tuple[Any, ...]]]:
    """Return the bulk interface of the table, and the rows that a migration writes."""
    from django.db import connection

    from orbsite.storage.file.content import entries
    from orbsite.storage.records.digest import Columns
    from orbsite.storage.sql.bulk_postgresql import PostgresqlBulk
    from orbsite.storage.sql.bulk_sqlite import SqliteBulk
    from orbsite.storage.sql.row_encoder import RowEncoder
    from te.domain import DOMAIN
    from te.records import Reflection

    make_bulk: Any = PostgresqlBulk if connection.vendor == "postgresql" else SqliteBulk
    model = DOMAIN.models[Reflection]
    found = [entry for entry in entries(DOMAIN, (base / FILE).read_bytes()) if entry.record is not None]
    columns = Columns(Reflection, [entry.record for entry in found if entry.record is not None])
    cells = zip(RowEncoder(model, connection).of(columns), columns.digests(), found, strict=True)
    return make_bulk(model, connection), [(*row, digest, 1, entry.position) for row, digest, entry in cells]


def raw(base: Path) -> dict[str, float]:
    """Write prepared rows with the database's own driver, as the lower limit."""
    from django.db import connection

    bulk, rows = prepared(base)
    connection.ensure_connection()
    driver = connection.connection
    names = ", ".join(bulk.all_names)

    def sqlite() -> None:
        driver.execute("BEGIN IMMEDIATE")
        driver.executemany(f"INSERT INTO {bulk.table} ({names}) VALUES ({', '.join('?' * len(bulk.all_names))})", rows)
        driver.execute("COMMIT")

    if connection.vendor == "sqlite":
        return cost(sqlite)

    from psycopg.types.json import Jsonb

    at, tags = bulk.names.index('"created_at"'), bulk.names.index('"tags"')
    whole = [
        tuple(
            datetime.fromisoformat(cell) if place == at else Jsonb(json.loads(cell)) if place == tags else cell
            for place, cell in enumerate(row)
        )
        for row in rows
    ]
    types = [
        "timestamptz" if place == at else "jsonb" if place == tags else "text" for place in range(len(rows[0]) - 2)
    ]

    def postgresql() -> None:
        statement = f"COPY {bulk.table} ({names}) FROM STDIN (FORMAT BINARY)"
        with driver.transaction(), driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types([*types, "bigint", "integer"])
            for row in whole:
                copy.write_row(row)

    return cost(postgresql)


def sqlite_utils(base: Path) -> dict[str, float]:
    """Write the same records with sqlite-utils, into a table with the same indexes."""
    import sqlite_utils as peer

    tree = json.loads((base / FILE).read_bytes())
    users = {session: user for user, sessions in tree["userSessions"].items() for session in sessions}
    (base / "peer.sqlite3").unlink(missing_ok=True)
    connection = sqlite3.connect(base / "peer.sqlite3")
    connection.execute(PEER)
    for at, columns in enumerate(PEER_INDEXES):
        connection.execute(f"CREATE INDEX peer_{at} ON te_reflections ({columns})")
    records = [
        {
            "id": item["id"],
            "user_id": users[session],
            "session_id": session,
            "input": item["input"],
            "output": item["output"],
            "tags": item["tags"],
            "notes": item["notes"],
            "created_at": item["createdAt"],
        }
        for session, items in tree["sessions"].items()
        for item in items
    ]
    table: Any = peer.Database(connection)["te_reflections"]
    return cost(lambda: table.insert_all(records, pk="id"))


def ours(base: Path) -> dict[str, float]:
    """Migrate as the command does, and return the times and the counts of the run."""
    from orbsite.operations.migration.migrate import migrate
    from orbsite.operations.migration.run import Transfer
    from orbsite.storage.clock import utc_now
    from te.domain import DOMAIN

    verification = {"wall": 0.0, "cpu": 0.0}
    verify = Transfer._verify

    def watched(*arguments: Any, **options: Any) -> None:
        verification.update(cost(lambda: verify(*arguments, **options)))

    Transfer._verify = watched  # type: ignore[method-assign]
    reports: list[Any] = []
    found = cost(lambda: reports.append(migrate([DOMAIN], base, now=utc_now)))
    section = reports[0].domains["te"]
    found |= {f"{name} of verification": seconds for name, seconds in verification.items()}
    return found | {"new": section.total("new"), "unchanged": section.total("unchanged")}


def verified(base: Path) -> dict[str, float]:
    """Compare file and SQL, as the command does."""
    from orbsite.operations.migration.verify import verify
    from te.domain import DOMAIN

    reports: list[Any] = []
    found = cost(lambda: reports.append(verify([DOMAIN], base)))
    return found | {"equal": reports[0].domains["te"].total("equal")}


COMMAND = [sys.executable, "manage.py", "migrate_orb_files", "--data-dir"]
STEPS = {"raw": raw, "sqlite_utils": sqlite_utils, "ours": ours, "verified": verified}


def command(base: Path, url: str, *options: str) -> dict[str, float]:
    """Run the command of a migration in a new process, and return its times from start to end."""
    arguments = [*COMMAND, str(base), *options]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(arguments, capture_output=True, env=environment(url), check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def measure(base: Path, urls: dict[str, str], vendor: str) -> Found:
    """Measure one vendor, with a database for the driver alone, one for the migration, and three for the command."""
    for url in urls.values():
        fresh(url)
    found = {"raw": _step("raw", base, urls["raw"])}
    for name in ("first", "repeat"):
        found[name] = _step("ours", base, urls["ours"])
    found["verified"] = _step("verified", base, urls["ours"])
    found["start"] = command(base / "one", urls["one"], "--no-backup")
    found["command"] = command(base, urls["command"], "--no-backup")
    found["with backup"] = command(base, urls["backup"])
    found["memory"] = {"peak": peak_of([*COMMAND, str(base), "--no-backup"], urls["memory"])}
    if vendor == figures.SQLITE:
        found["sqlite-utils"] = _step("sqlite_utils", base, urls["raw"])
    return found


def _step(name: str, base: Path, url: str) -> dict[str, float]:
    found: dict[str, float] = step("benchmarks.migration", name, base, url=url)
    return found


def results(vendor: str, data: int, rounds: list[Found]) -> list[Figure]:
    """Return the figures of several rounds. The ratios are those of the medians, by wall and on SQLite by processor."""
    clocks = ("wall", "cpu") if vendor == figures.SQLITE else ("wall",)
    most = max(one.pop("memory")["peak"] for one in rounds)
    found = [one for clock in clocks for one in _of_clock(clock, rounds, BARS[vendor][clock])]
    return [
        *found,
        Figure(name="the file", value=data / 1e6, unit="MB"),
        Figure(name="peak memory", value=most / 2**20, unit="MiB", ratio=most / data, peer="x the file", bar=PEAK),
    ]


def _of_clock(clock: str, rounds: list[Found], bars: dict[str, Bar]) -> list[Figure]:
    """Return the figures of all kinds of work by one clock."""

    def taken(name: str) -> list[float]:
        return [one[name][clock] for one in rounds]

    own = [one["first"][f"{clock} of verification"] for one in rounds]
    times = {name: taken(name) for name in rounds[0]} | {"verification": own}
    times["alone"] = [whole - part for whole, part in zip(times["first"], own, strict=True)]
    return [
        figure(
            f"{label}{', processor' if clock == 'cpu' else ''}",
            times[name],
            over=statistics.median(times[other]) if other else None,
            peer=peer,
            bar=bars.get(name),
        )
        for name, label, other, peer in ROWS
        if name in times
    ]


def main() -> None:
    """Measure all sizes, and print seconds and ratios."""
    if sys.argv[1:2] and sys.argv[1] in STEPS:
        import django

        os.environ["DJANGO_SETTINGS_MODULE"] = "orbsite.settings"
        django.setup()
        print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]))))
        return
    from tests.support.postgresql import throwaway

    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    print(f"seed {SEED}; sqlite-utils {version('sqlite-utils')}, psycopg {version('psycopg')}")
    with tempfile.TemporaryDirectory(dir=".") as work, throwaway(fsync="on", full_page_writes="on") as server:
        os.environ["ORB_BACKUP_DIR"] = str(Path(work).resolve() / "backups")
        for size in sizes:
            base = Path(work).resolve() / str(size)
            data, _ = len(write(base, size)), write(base / "one", 1)
            for vendor in (figures.SQLITE, figures.POSTGRESQL):
                rounds = []
                for number in range(ROUNDS if size < LARGE else 1):
                    place = base / str(number)
                    place.mkdir()
                    urls = {name: f"sqlite:///{place}/{name}.sqlite3" for name in DATABASES}
                    if vendor == figures.POSTGRESQL:
                        urls = {name: database(server, f"{name}_{size}_{number}") for name in DATABASES}
                    rounds.append(measure(base, urls, vendor))
                    shutil.rmtree(place)
                figures.record("migration", size, vendor, results(vendor, data, rounds))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
