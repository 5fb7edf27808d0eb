"""Measures retention, compared with one SQL statement that deletes the same rows, also during concurrent writes.

python -m benchmarks.compaction [NUMBER OF REFLECTIONS ...]
"""

from __future__ import annotations

import json
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.migration import PRODUCTION, database, fresh, peak, timed
from benchmarks.reflections import SEED, a_text

SIZES = (100_000, 1_000_000)
FILE_SIZE = 100_000
SESSION, SESSIONS_OF_A_USER, DAYS = 2000, 5, 120
NOW = datetime(2024, 6, 1, tzinfo=UTC)
RAW = (
    "DELETE FROM te_reflections WHERE id IN (SELECT id FROM (SELECT id, created_at, row_number() OVER "
    "(PARTITION BY session_id ORDER BY created_at DESC, id DESC) AS place FROM te_reflections) AS ranked "
    "WHERE place > 1000 OR created_at < %s)"
)
_PART = 10_000
_BETWEEN = 0.01
"""Seconds between two saves of the one who writes meanwhile."""


def some(number: int) -> Any:
    """Yield lists of reflections, two thousand per session, over 120 days. Retention removes half of them."""
    from te.records import Reflection

    draw, step, sessions = random.Random(SEED), timedelta(days=DAYS) / number, max(1, number // SESSION)
    for start in range(0, number, _PART):
        yield [
            Reflection(
                id=f"{draw.getrandbits(128):032x}",
                user_id=f"user-{at % sessions // SESSIONS_OF_A_USER}",
                session_id=f"session-{at % sessions}",
                input=a_text(draw, 20),
                output=a_text(draw, 40),
                tags=("plan", "merge"),
                notes="Task status: completed",
                created_at=NOW - timedelta(days=DAYS) + step * at,
            )
            for at in range(start, min(start + _PART, number))
        ]


def fill(number: int) -> dict[str, float]:
    """Write the reflections into the table."""
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN
    from te.records import Reflection

    store = open_sql_store(DOMAIN)
    for records in some(number):
        with store.transaction():
            store.insert(store.make_batch(Reflection, records, [None] * len(records)), range(len(records)), 1)
    _settled()
    return {}


def _seconds(act: Callable[[], object]) -> float:
    """Return the wall seconds of a call."""
    return timed(act)["wall"]


def _settled() -> None:
    """Update the statistics of PostgreSQL, as autovacuum would do later."""
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("CHECKPOINT")


def raw(_: int) -> dict[str, float]:
    """Delete the rows by one statement, as the lower limit."""
    from django.db import connection

    limit: Any = NOW - timedelta(days=90)
    limit = str(limit.replace(tzinfo=None)) if connection.vendor == "sqlite" else limit
    rows: list[int] = []

    def delete() -> None:
        with connection.cursor() as cursor:
            cursor.execute(RAW, [limit])
            rows.append(cursor.rowcount)

    connection.ensure_connection()
    return {"seconds": _seconds(delete), "removed": rows[0]}


def ours(_: int, *, writes: bool = False) -> dict[str, float]:
    """Apply the guide's retention policy, alone or while another process saves."""
    from orbsite.operations.retention.apply import retain
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN
    from te.retention import guides_policy

    found: dict[str, float] = {}
    store, reports = open_sql_store(DOMAIN), list[Any]()
    other = _Writer() if writes else None
    if other is not None:
        other.start()
    seconds = _seconds(lambda: reports.append(retain([store], guides_policy(), now=lambda: NOW, force=True)))
    if other is not None:
        found |= other.stop()
    section = reports[0].domains["te"]
    return found | {"seconds": seconds, "removed": section.total("removed"), "peak": peak()} | section.facts


def beside(number: int) -> dict[str, float]:
    """Apply retention while another process saves."""
    return ours(number, writes=True)


class _Writer:
    """A process that saves one reflection after the other."""

    def start(self) -> None:
        command = [sys.executable, "-m", "benchmarks.compaction", "write", "0"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is not None:
            self._process.stdout.readline()

    def stop(self) -> dict[str, float]:
        printed, _ = self._process.communicate("stop\n")
        found: dict[str, float] = json.loads(printed)
        return found


def write(_: int) -> dict[str, float]:
    """Save until the parent process sends stop, and print the longest wait."""
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN
    from te.records import Reflection

    store, stopped, waits = open_sql_store(DOMAIN), threading.Event(), list[float]()
    threading.Thread(target=lambda: (sys.stdin.readline(), stopped.set()), daemon=True).start()
    while not stopped.is_set():
        one = Reflection(
            id=f"new-{len(waits)}", user_id="w", session_id="w", input="i", output="o", tags=(), created_at=NOW
        )
        waits.append(timed_alone(lambda one=one: store.put([one])))  # type: ignore[misc]
        if len(waits) == 1:
            print("ready", flush=True)
        time.sleep(_BETWEEN)
    return {"longest": max(waits), "saves": len(waits)}


def timed_alone(act: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def make_file(number: int) -> dict[str, float]:
    """Write the reflections into the file."""
    from orbsite.stores import open_file_store
    from te.domain import DOMAIN

    store = open_file_store(DOMAIN)
    store.put(record for records in some(number) for record in records)
    store.fold()
    return {}


def codec(_: int) -> dict[str, float]:
    """Decode and encode the file with msgspec, typed and untyped, as the lower limit."""
    import msgspec

    from orbsite.conf import app_settings
    from te.domain import DOMAIN
    from te.layout import ReflectionsLayout

    data = (app_settings.data_directory() / DOMAIN.file).read_bytes()
    decoder: Any = ReflectionsLayout()._whole
    return {
        "typed": _seconds(lambda: msgspec.json.encode(decoder.decode(data))),
        "untyped": _seconds(lambda: msgspec.json.encode(msgspec.json.decode(data))),
        "size": len(data),
    }


def file(_: int) -> dict[str, float]:
    """Apply retention to the file, as the command does: read, write tombstones, remove, write, sync."""
    from orbsite.operations.retention.apply import retain
    from orbsite.stores import open_file_store
    from te.domain import DOMAIN
    from te.retention import guides_policy

    reports: list[Any] = []
    store = open_file_store(DOMAIN)
    seconds = _seconds(lambda: reports.append(retain([store], guides_policy(), now=lambda: NOW, force=True)))
    section = reports[0].domains["te"]
    return {"seconds": seconds, "removed": section.total("removed"), "peak": peak()} | section.facts


STEPS: dict[str, Callable[[int], dict[str, float]]] = {
    "fill": fill,
    "raw": raw,
    "ours": ours,
    "beside": beside,
    "write": write,
    "make_file": make_file,
    "codec": codec,
    "file": file,
}


def step(name: str, number: int, **environment: str) -> dict[str, float]:
    """Run a step in a new process."""
    usual = {"DJANGO_SETTINGS_MODULE": "orbsite.settings", **PRODUCTION}
    command = [sys.executable, "-m", "benchmarks.compaction", name, str(number)]
    printed = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **usual, **environment}, check=False
    )
    if printed.returncode:
        raise SystemExit(printed.stderr)
    found: dict[str, float] = json.loads(printed.stdout)
    return found


def tables(vendor: str, number: int, urls: list[str]) -> None:
    """Print seconds and ratios for tables, with the same rows in each of three databases."""
    for url in urls:
        fresh(url)
        step("fill", number, DATABASE_URL=url)
    limit, alone, beside_others = (
        step(name, number, DATABASE_URL=url) for name, url in zip(("raw", "ours", "beside"), urls, strict=True)
    )
    print(f"{vendor}, {number:,} reflections, {limit['removed']:,.0f} of which go")
    print(f"  one raw statement       {limit['seconds']:8.2f} s")
    for what, found in (("retention", alone), ("while others write", beside_others)):
        ratio = found["seconds"] / limit["seconds"]
        print(f"  {what:22}  {found['seconds']:8.2f} s  {ratio:.2f} x the statement; {found['removed']:,.0f} removed")
    print(f"  longest wait of a save  {beside_others['longest']:8.2f} s  {beside_others['saves']:,.0f} saves")
    print(f"  reclaimable             {alone['reclaimable'] / 2**20:8.0f} MiB, peak {alone['peak'] / 2**20:,.0f} MiB")


def files(number: int, base: Path) -> None:
    """Print seconds and ratios for a file."""
    place = {"ORB_DATA_DIR": str(base), "ORB_PERSISTENCE": "file"}
    step("make_file", number, **place)
    limits, found = step("codec", number, **place), step("file", number, **place)
    print(f"a file, {number:,} reflections, {limits['size'] / 1e6:,.0f} MB, {found['removed']:,.0f} of which go")
    for what in ("typed", "untyped"):
        print(f"  msgspec, {what:14} {limits[what]:8.2f} s  to decode and encode it")
    ratios = ", ".join(f"{found['seconds'] / limits[what]:.2f} x {what}" for what in ("typed", "untyped"))
    print(f"  retention               {found['seconds']:8.2f} s  {ratios}; peak {found['peak'] / 2**20:,.0f} MiB")


def main() -> None:
    """Measure all sizes, and print seconds and ratios."""
    if sys.argv[1:2] and sys.argv[1] in STEPS:
        import django

        os.environ["DJANGO_SETTINGS_MODULE"] = "orbsite.settings"
        django.setup()
        print(json.dumps(STEPS[sys.argv[1]](int(sys.argv[2]))))
        return
    from tests.support.postgresql import throwaway

    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    print(f"seed {SEED}; Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, ", end="")
    print(f"psycopg {version('psycopg')}, {os.cpu_count()} cores, {platform.machine()}")
    with tempfile.TemporaryDirectory(dir=".") as work, throwaway(fsync="on", full_page_writes="on") as server:
        base = Path(work).resolve()
        files(FILE_SIZE, base / "files")
        for size in sizes:
            names = [f"{name}_{size}" for name in ("raw", "ours", "beside")]
            tables("sqlite", size, [f"sqlite:///{base}/{name}.sqlite3" for name in names])
            tables("postgresql", size, [database(server, name) for name in names])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
