"""Measures the migration of a file into SQL, compared with the database drivers on the same rows, in one run.

python -m benchmarks.migration [NUMBER OF REFLECTIONS ...]

Times are of the wall and of the processor; those of the processor leave out a server's processes. Ratios are of the
processor's, and of the wall on PostgreSQL. The command is a process of its own: its start is told by a file of one
reflection, its backup by the difference to a command without one.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.reflections import SEED, make

PRODUCTION = {
    "DEBUG": "",
    "SECRET_KEY": "for-benchmarks-alone-Yq3VbX7mWc9LkT2pRz8NsHd5GfJu4EaQwS6yDxB1",
    "ALLOWED_HOSTS": "localhost",
    "ORB_ALLOW_SQLITE": "true",
    "ORB_HTTPS": "false",
}
"""Settings as they are where it matters, on a database of any kind."""

SIZES = (100_000, 1_000_000)
FILE = "te/reflections.json"
DATABASES = ("raw", "ours", "one", "command", "backup")
PEER = (
    "CREATE TABLE te_reflections (id TEXT PRIMARY KEY, user_id TEXT, session_id TEXT, input TEXT, output TEXT, "
    "tags TEXT, notes TEXT, created_at TEXT)"
)
PEER_INDEXES = ("user_id, created_at, id", "session_id, created_at, id", "created_at, id")


def timed(act: Callable[[], object]) -> dict[str, float]:
    """Return the seconds of wall and processor that a call takes, after a garbage collection."""
    gc.collect()
    gc.freeze()
    begin, before = time.perf_counter(), time.process_time()
    act()
    return {"wall": time.perf_counter() - begin, "cpu": time.process_time() - before}


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
        return timed(sqlite)

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

    return timed(postgresql)


def sqlite_utils(base: Path) -> dict[str, float]:
    """Write the same records with sqlite-utils, into a table with the same indexes."""
    import sqlite_utils as peer

    tree = json.loads((base / FILE).read_bytes())
    users = {session: user for user, sessions in tree["userSessions"].items() for session in sessions}
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
    return timed(lambda: table.insert_all(records, pk="id"))


def ours(base: Path) -> dict[str, float]:
    """Migrate as the command does, and return the times, the counts and the peak memory of the run."""
    from orbsite.operations.migration.migrate import migrate
    from orbsite.operations.migration.run import Transfer
    from orbsite.storage.clock import utc_now
    from te.domain import DOMAIN

    verification = {"wall": 0.0, "cpu": 0.0}
    verify = Transfer._verify

    def watched(*arguments: Any, **options: Any) -> None:
        verification.update(timed(lambda: verify(*arguments, **options)))

    Transfer._verify = watched  # type: ignore[method-assign]
    reports: list[Any] = []
    found = timed(lambda: reports.append(migrate([DOMAIN], base, now=utc_now)))
    section = reports[0].domains["te"]
    found |= {f"{name} of verification": seconds for name, seconds in verification.items()}
    return found | {"new": section.total("new"), "unchanged": section.total("unchanged"), "peak": peak()}


def verified(base: Path) -> dict[str, float]:
    """Compare file and SQL, as the command does."""
    from orbsite.operations.migration.verify import verify
    from te.domain import DOMAIN

    reports: list[Any] = []
    found = timed(lambda: reports.append(verify([DOMAIN], base)))
    return found | {"equal": reports[0].domains["te"].total("equal")}


STEPS = {"raw": raw, "sqlite_utils": sqlite_utils, "ours": ours, "verified": verified}


def peak() -> int:
    """Return the peak memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def environment(url: str) -> dict[str, str]:
    """Return the environment of a process that uses a database."""
    named = {"DJANGO_SETTINGS_MODULE": "orbsite.settings", "DATABASE_URL": url}
    return {**os.environ, **PRODUCTION, **named}


def step(name: str, base: Path, url: str) -> dict[str, float]:
    """Run a step in a new process."""
    command = [sys.executable, "-m", "benchmarks.migration", name, str(base)]
    printed = subprocess.run(command, capture_output=True, text=True, env=environment(url), check=False)
    if printed.returncode:
        raise SystemExit(printed.stderr)
    found: dict[str, float] = json.loads(printed.stdout)
    return found


def command(base: Path, url: str, *options: str) -> dict[str, float]:
    """Run the command of a migration in a new process, and return its times from start to end."""
    arguments = [sys.executable, "manage.py", "migrate_orb_files", "--data-dir", str(base), *options]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(arguments, capture_output=True, env=environment(url), check=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def fresh(url: str) -> None:
    """Create the tables of a new database."""
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], env=environment(url), check=True)


def database(server: Any, name: str) -> str:
    """Create a database on a server, and return its address."""
    import psycopg

    with psycopg.connect(
        host=server.host, port=server.port, user=server.user, dbname="postgres", autocommit=True
    ) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return f"postgres://{server.user}@/{name}?host={quote(server.host)}&port={server.port}"


def write(base: Path, number: int) -> int:
    """Write a data directory with a number of reflections, and return the size of its file."""
    (base / "te").mkdir(mode=0o700, parents=True)
    (base / FILE).write_bytes(make(number))
    (base / FILE).chmod(0o600)
    return (base / FILE).stat().st_size


def measure(base: Path, urls: dict[str, str], vendor: str) -> dict[str, dict[str, float]]:
    """Measure one vendor, with a database for the driver alone, one for the migration, and three for the command."""
    for url in urls.values():
        fresh(url)
    found = {"raw": step("raw", base, urls["raw"])}
    for name in ("first", "repeat"):
        found[name] = step("ours", base, urls["ours"])
    found["verified"] = step("verified", base, urls["ours"])
    found["start"] = command(base / "one", urls["one"], "--no-backup")
    found["command"] = command(base, urls["command"], "--no-backup")
    found["with backup"] = command(base, urls["backup"])
    if vendor == "sqlite":
        found["sqlite-utils"] = step("sqlite_utils", base, urls["raw"])
    return found


def print_results(vendor: str, size: int, data: int, found: dict[str, dict[str, float]]) -> None:
    """Print seconds and ratios of a measurement."""
    clock = "cpu" if vendor == "sqlite" else "wall"
    raw, first = found["raw"], found["first"]
    own = {name: first[f"{name} of verification"] for name in ("wall", "cpu")}
    alone = {name: first[name] - own[name] for name in own}
    rows = [
        ("the driver alone", raw, raw, "itself"),
        ("migration, verification", first, raw, "the driver"),
        ("  without verification", alone, raw, "the driver"),
        ("  the verification", own, first, "the migration"),
        ("repeat", found["repeat"], alone, "the first without verification"),
        ("verify_orb_files", found["verified"], first, "the migration"),
        ("command", found["command"], raw, "the driver"),
        ("  its start", found["start"], found["command"], "the command"),
        ("command with backup", found["with backup"], found["command"], "the command without"),
    ]
    if "sqlite-utils" in found:
        rows.append(("sqlite-utils", found["sqlite-utils"], first, "the migration"))
    print(
        f"{vendor}, {size:,} reflections, {data / 1e6:,.0f} MB; {first['new']:,} new, {found['repeat']['new']:,} again"
    )
    for name, times, other, what in rows:
        ratio = f"{times[clock] / other[clock]:.2f} x {what}"
        print(f"  {name:24}{times['wall']:8.2f} s, CPU {times['cpu']:6.2f} s  {ratio}")
    print(f"  {'peak memory':24}{first['peak'] / 2**20:8.0f} MiB, {first['peak'] / data:.2f} x the file")


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
    print(f"seed {SEED}; Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, ", end="")
    print(f"sqlite-utils {version('sqlite-utils')}, psycopg {version('psycopg')}, ", end="")
    print(f"{os.cpu_count()} cores, {platform.machine()}")
    per_record: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=".") as work, throwaway(fsync="on", full_page_writes="on") as server:
        os.environ["ORB_BACKUP_DIR"] = str(Path(work).resolve() / "backups")
        for size in sizes:
            base = Path(work).resolve() / str(size)
            data, _ = write(base, size), write(base / "one", 1)
            for vendor in ("sqlite", "postgresql"):
                urls = {name: f"sqlite:///{base}/{name}.sqlite3" for name in DATABASES}
                if vendor == "postgresql":
                    urls = {name: database(server, f"{name}_{size}") for name in DATABASES}
                found = measure(base, urls, vendor)
                print_results(vendor, size, data, found)
                per_record.setdefault(vendor, []).append(found["first"]["cpu"] / size)
    for vendor, times in per_record.items():
        if len(times) > 1:
            print(f"{vendor}: a record at {sizes[-1]:,} takes {times[-1] / times[0]:.2f} x one at {sizes[0]:,}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
