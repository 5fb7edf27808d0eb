"""Measures the migration of a file into SQL, compared with the database drivers on the same rows, in one run.

python -m benchmarks.migration [NUMBER OF REFLECTIONS ...]
"""

from __future__ import annotations

import gc
import json
import os
import platform
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
PEER = (
    "CREATE TABLE te_reflections (id TEXT PRIMARY KEY, user_id TEXT, session_id TEXT, input TEXT, output TEXT, "
    "tags TEXT, notes TEXT, created_at TEXT)"
)
PEER_INDEXES = ("user_id, created_at, id", "session_id, created_at, id", "created_at, id")


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that a call takes, after a garbage collection."""
    gc.collect()
    gc.freeze()
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


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
        return {"seconds": timed(sqlite)}

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

    return {"seconds": timed(postgresql)}


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
    return {"seconds": timed(lambda: table.insert_all(records, pk="id"))}


def ours(base: Path) -> dict[str, float]:
    """Migrate as the command does, and return the times, the counts and the peak memory of the run."""
    from orbsite.operations.migration.migrate import migrate
    from orbsite.operations.migration.run import Transfer
    from orbsite.storage.clock import utc_now
    from te.domain import DOMAIN

    found = {"verification": 0.0}
    verify = Transfer._verify

    def watched(*arguments: Any, **options: Any) -> None:
        found["verification"] += timed(lambda: verify(*arguments, **options))

    Transfer._verify = watched  # type: ignore[method-assign]
    reports: list[Any] = []
    found["seconds"] = timed(lambda: reports.append(migrate([DOMAIN], base, now=utc_now)))
    found["seconds"] -= found["verification"]
    section = reports[0].domains["te"]
    found |= {"new": section.total("new"), "unchanged": section.total("unchanged"), "peak": peak()}
    return found


def verified(base: Path) -> dict[str, float]:
    """Compare file and SQL, as the command does."""
    from orbsite.operations.migration.verify import verify
    from te.domain import DOMAIN

    reports: list[Any] = []
    seconds = timed(lambda: reports.append(verify([DOMAIN], base)))
    return {"seconds": seconds, "equal": reports[0].domains["te"].total("equal")}


STEPS = {"raw": raw, "sqlite_utils": sqlite_utils, "ours": ours, "verified": verified}


def peak() -> int:
    """Return the peak memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def step(name: str, base: Path, url: str) -> dict[str, float]:
    """Run a step in a new process."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "orbsite.settings",
        "DATABASE_URL": url,
        **PRODUCTION,
    }
    command = [sys.executable, "-m", "benchmarks.migration", name, str(base)]
    printed = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if printed.returncode:
        raise SystemExit(printed.stderr)
    found: dict[str, float] = json.loads(printed.stdout)
    return found


def fresh(url: str) -> None:
    """Create the tables of a new database."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "orbsite.settings",
        "DATABASE_URL": url,
        **PRODUCTION,
    }
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], env=environment, check=True)


def database(server: Any, name: str) -> str:
    """Create a database on a server, and return its address."""
    import psycopg

    with psycopg.connect(
        host=server.host, port=server.port, user=server.user, dbname="postgres", autocommit=True
    ) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return f"postgres://{server.user}@/{name}?host={quote(server.host)}&port={server.port}"


def measure(base: Path, urls: list[str], vendor: str) -> dict[str, dict[str, float]]:
    """Measure one vendor with two databases: one for the driver alone, one for the migration."""
    for url in urls:
        fresh(url)
    found = {"raw": step("raw", base, urls[0])}
    for name in ("first", "repeat"):
        found[name] = step("ours", base, urls[1])
    found["verified"] = step("verified", base, urls[1])
    if vendor == "sqlite":
        found["sqlite-utils"] = step("sqlite_utils", base, urls[0])
    return found


def print_results(vendor: str, size: int, data: int, found: dict[str, dict[str, float]]) -> None:
    """Print seconds and ratios of a measurement."""
    limit, first, repeat = found["raw"]["seconds"], found["first"]["seconds"], found["repeat"]["seconds"]
    print(f"{vendor}, {size:,} reflections, {data / 1e6:,.0f} MB")
    print(f"  the driver alone        {limit:8.2f} s")
    print(f"  migration               {first:8.2f} s  {first / limit:.2f} x the driver; {found['first']['new']:,} new")
    if "sqlite-utils" in found:
        peer = found["sqlite-utils"]["seconds"]
        print(f"  sqlite-utils            {peer:8.2f} s  {peer / first:.2f} x the migration")
    print(
        f"  repeat                  {repeat:8.2f} s  {repeat / first:.2f} x the first; {found['repeat']['new']:,} new"
    )
    own, all_of_it = found["first"]["verification"], found["verified"]["seconds"]
    print(f"  the run's verification  {own:8.2f} s  {own / first:.2f} x the migration")
    print(f"  verify_orb_files        {all_of_it:8.2f} s  {all_of_it / first:.2f} x the migration")
    over = (found["first"]["peak"] - 1.2 * data) / 2**20
    print(f"  peak memory             {found['first']['peak'] / 2**20:8.0f} MiB, 1.2 x the file and {over:,.0f} MiB")


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
        for size in sizes:
            base = Path(work).resolve() / str(size)
            (base / "te").mkdir(mode=0o700, parents=True)
            (base / FILE).write_bytes(make(size))
            (base / FILE).chmod(0o600)
            data = (base / FILE).stat().st_size
            for vendor in ("sqlite", "postgresql"):
                urls = [f"sqlite:///{base}/{name}.sqlite3" for name in ("raw", "ours")]
                if vendor == "postgresql":
                    urls = [database(server, f"{name}_{size}") for name in ("raw", "ours")]
                found = measure(base, urls, vendor)
                print_results(vendor, size, data, found)
                per_record.setdefault(vendor, []).append(found["first"]["seconds"] / size)
    for vendor, times in per_record.items():
        if len(times) > 1:
            print(f"{vendor}: a record at {sizes[-1]:,} takes {times[-1] / times[0]:.2f} x one at {sizes[0]:,}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
