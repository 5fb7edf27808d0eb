"""Measures imports of a database of the earlier system, compared with migrating the same records from files.

python -m benchmarks.imports [NUMBER OF REFLECTIONS ...]
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.migration import FILE, PEER, PRODUCTION, fresh, peak
from benchmarks.reflections import SEED, make

SIZES = (10_000, 100_000)
ROUNDS = 3


def generate(base: Path, number: int) -> None:
    """Write a file of reflections, and a database of the earlier system with the same reflections."""
    (base / "te").mkdir(mode=0o700)
    (base / FILE).write_bytes(make(number))
    (base / FILE).chmod(0o600)
    tree = json.loads((base / FILE).read_bytes())
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

    before = time.process_time()
    report = migrate([DOMAIN], base, now=utc_now)
    return {"seconds": time.process_time() - before, "new": report.domains["te"].total("new"), "peak": peak()}


def imported(base: Path) -> dict[str, float]:
    """Import the database of the benchmark."""
    from orbsite.operations.migration.migrate import import_database
    from orbsite.storage.clock import utc_now
    from te.domain import DOMAIN

    before = time.process_time()
    report = import_database([DOMAIN], str(base / "orb.db"), now=utc_now)
    return {"seconds": time.process_time() - before, "new": report.domains["te"].total("new"), "peak": peak()}


STEPS = {"migrated": migrated, "imported": imported}


def step(name: str, base: Path) -> dict[str, float]:
    """Run a step in a new process, into a new database."""
    target = base / f"{name}.sqlite3"
    target.unlink(missing_ok=True)
    url = f"sqlite:///{target}"
    fresh(url)
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "orbsite.settings", "DATABASE_URL": url, **PRODUCTION}
    command = [sys.executable, "-m", "benchmarks.imports", name, str(base)]
    printed = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if printed.returncode:
        raise SystemExit(printed.stderr)
    found: dict[str, float] = json.loads(printed.stdout)
    return found


def main() -> None:
    """Print the seconds of CPU and their ratio: the best of several rounds, in turns."""
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
            generate(base, size)
            rounds = [{name: step(name, base) for name in STEPS} for _ in range(ROUNDS)]
            for one in rounds:
                if {found["new"] for found in one.values()} != {size}:
                    raise SystemExit(f"not everything came over: {one}")
            files, database = (min(one[name]["seconds"] for one in rounds) for name in STEPS)
            print(f"{size:,} reflections: files {files:.2f} s of CPU, database {database:.2f} s", end="")
            print(f", {database / files:.2f} x; peak {rounds[0]['imported']['peak'] / 2**20:,.0f} MiB")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
