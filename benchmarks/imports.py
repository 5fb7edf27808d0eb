"""Measures imports of a database of the earlier system, compared with migrating the same records from files.

python -m benchmarks.imports [NUMBER OF REFLECTIONS ...]
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import figures
from benchmarks.figures import Figure, figure
from benchmarks.migration import PEER
from benchmarks.processes import fresh, step
from benchmarks.reflections import SEED, write
from benchmarks.timing import cost, peak

if TYPE_CHECKING:
    from orbsite.operations.report import Report

TITLE = "Imports of databases of the earlier system"
NOTES = """
Seconds are those of the processor, with verification.

A source of 2.0 GB (24,000 reflections, 4,000 of them of half a megabyte) took 85 s and at most 179 MiB. Rows are read
as they lie where an index says that keys are unique: in the order of random ids, an import took 1.4 x.
"""
SIZES = (100_000,)
ROUNDS = 3


def generate(base: Path, number: int) -> None:
    """Write a file of reflections, and a database of the earlier system with the same reflections."""
    tree = json.loads(write(base, number))
    users = {session: user for user, sessions in tree["userSessions"].items() for session in sessions}
    rows = (
        (
            item["id"],
            users[session],
            session,
            item["input"],
            item["output"],
            json.dumps(item["tags"], ensure_ascii=False),
            item.get("notes"),
            item["createdAt"],
        )
        for session, items in tree["sessions"].items()
        for item in items
    )
    connection = sqlite3.connect(base / "orb.db")
    with connection:
        connection.execute(PEER)
        connection.executemany("INSERT INTO te_reflections VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()


def migrated(base: Path) -> dict[str, float]:
    """Migrate the file of the benchmark."""
    from orbsite.operations.migration.migrate import migrate
    from orbsite.storage.clock import utc_now
    from te.domain import DOMAIN

    reports: list[Report] = []
    found = cost(lambda: reports.append(migrate([DOMAIN], base, now=utc_now)))
    return found | {"new": reports[0].domains["te"].total("new"), "peak": peak()}


def imported(base: Path) -> dict[str, float]:
    """Import the database of the benchmark."""
    from orbsite.operations.migration.migrate import import_database
    from orbsite.storage.clock import utc_now
    from te.domain import DOMAIN

    reports: list[Report] = []
    found = cost(lambda: reports.append(import_database([DOMAIN], str(base / "orb.db"), now=utc_now)))
    return found | {"new": reports[0].domains["te"].total("new"), "peak": peak()}


STEPS = {"migrated": migrated, "imported": imported}


def into_new(name: str, base: Path) -> dict[str, float]:
    """Run a step in a new process, into a new database."""
    target = base / f"{name}.sqlite3"
    target.unlink(missing_ok=True)
    url = f"sqlite:///{target}"
    fresh(url)
    found: dict[str, float] = step("benchmarks.imports", name, base, url=url)
    return found


def measure(size: int, base: Path) -> list[Figure]:
    """Return the figures of a size. Exits with an error if a step has not written all records."""
    generate(base, size)
    rounds = [{name: into_new(name, base) for name in STEPS} for _ in range(ROUNDS)]
    for one in rounds:
        if {found["new"] for found in one.values()} != {size}:
            raise SystemExit(f"not everything came over: {one}")
    files, database = ([one[name]["cpu"] for one in rounds] for name in STEPS)
    most = max(one["imported"]["peak"] for one in rounds)
    return [
        figure("from files", files),
        figure("from a database of the earlier system", database, over=statistics.median(files), peer="x from files"),
        Figure(name="peak memory of the import", value=most / 2**20, unit="MiB"),
    ]


def main() -> None:
    """Record the seconds of both kinds, which take turns."""
    if sys.argv[1:2] and sys.argv[1] in STEPS:
        import django

        os.environ["DJANGO_SETTINGS_MODULE"] = "orbsite.settings"
        django.setup()
        print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]))))
        return
    print(f"seed {SEED}; Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores")
    for size in [int(size) for size in sys.argv[1:]] or SIZES:
        with tempfile.TemporaryDirectory(dir=".") as work:
            base = Path(work).resolve()
            figures.record("imports", size, figures.SQLITE, measure(size, base))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
