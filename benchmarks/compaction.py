"""Measures retention, compared with one SQL statement that deletes the same rows, also during concurrent writes.

python -m benchmarks.compaction [NUMBER OF REFLECTIONS ...]
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.figures import Bar, Figure, figure
from benchmarks.processes import database, fresh, step
from benchmarks.reflections import SEED, a_text
from benchmarks.timing import cost, peak, seconds

TITLE = "Retention"
NOTES = """
The guide's policy, by which half goes. The raw statement deletes the same rows and keeps nothing; retention also
writes each of them as a tombstone. msgspec decodes and encodes the same file, with types and without.

- The file: decoding is a fifth of the processor's time, tombstones a fifth (35 MB, each line with its checksum),
  printing what stays a sixth; hashing, reading the old file once more after the swap, and copying to the system are
  most of the rest.
- PostgreSQL: the raw deletion only marks rows. Of some 13 µs for a row of a batch, half is making and inserting the
  tombstone, with 1.2 KB of log for each row where the deletion alone writes 50 bytes.
- SQLite at 100,000: pauses have a larger share in a short run.

Profiled: on SQLite, half of the time were commits and rests between batches of 0.2 s. Batches are now 0.6 s, and 0.4
s while others write. A rest of 0.05 s was too short for a waiter, which sleeps for 0.1 s at a time: now it is as long
as that. Conditions on each row were evaluated twice, for the tombstone and for the deletion. In the file, what was
done record by record is done a session at a time, and the SHA-256 runs in a thread beside the decoding.
"""
SIZES, ROUNDS, LARGE = (100_000,), 3, 300_000
"""Sizes, and rounds of sizes that are not large."""
SLOWER = {figures.SQLITE: Bar(1.5), figures.POSTGRESQL: Bar(3), figures.FILES: Bar(2)}
LONGEST = Bar(1)
"""Seconds of the longest wait of a save."""
STATES = ("raw", "ours", "beside")
"""The raw statement, retention alone, and retention beside another process that saves."""
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


def _wall(act: Callable[[], object]) -> float:
    """Return the wall seconds of a call, after a garbage collection."""
    return cost(act)["wall"]


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
    return {"seconds": _wall(delete), "removed": rows[0]}


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
    took = _wall(lambda: reports.append(retain([store], guides_policy(), now=lambda: NOW, force=True)))
    if other is not None:
        found |= other.stop()
    section = reports[0].domains["te"]
    return found | {"seconds": took, "removed": section.total("removed"), "peak": peak()}


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

    def wait_for_stop() -> None:
        sys.stdin.readline()
        stopped.set()

    threading.Thread(target=wait_for_stop, daemon=True).start()
    while not stopped.is_set():
        one = Reflection(
            id=f"new-{len(waits)}", user_id="w", session_id="w", input="i", output="o", tags=(), created_at=NOW
        )
        waits.append(seconds(partial(store.put, [one])))
        if len(waits) == 1:
            print("ready", flush=True)
        time.sleep(_BETWEEN)
    return {"longest": max(waits), "saves": len(waits)}


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
        "typed": _wall(lambda: msgspec.json.encode(decoder.decode(data))),
        "untyped": _wall(lambda: msgspec.json.encode(msgspec.json.decode(data))),
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
    took = _wall(lambda: reports.append(retain([store], guides_policy(), now=lambda: NOW, force=True)))
    section = reports[0].domains["te"]
    return {"seconds": took, "removed": section.total("removed"), "peak": peak()}


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


def _step(name: str, number: int, **options: str) -> dict[str, float]:
    found: dict[str, float] = step("benchmarks.compaction", name, number, **options)
    return found


def tables(vendor: str, number: int, urls: list[list[str]]) -> list[Figure]:
    """Return the figures of tables, with the same rows in each of three databases a round."""
    rounds = [_round(number, three) for three in urls]
    took = {name: [one[name]["seconds"] for one in rounds] for name in STATES}
    limit, slower = statistics.median(took["raw"]), SLOWER[vendor]
    beside = [one["beside"] for one in rounds]
    return [
        figure("one raw statement", took["raw"]),
        figure("retention", took["ours"], over=limit, peer="x the statement", bar=slower),
        figure("the same while another process saves", took["beside"], over=limit, peer="x the statement"),
        Figure(
            name="one of its saves: longest",
            value=max(one["longest"] for one in beside),
            unit="s",
            n=int(sum(one["saves"] for one in beside)),
            bar=LONGEST,
        ),
        Figure(name="peak memory", value=max(one["ours"]["peak"] for one in rounds) / 2**20, unit="MiB"),
    ]


def _round(number: int, urls: list[str]) -> dict[str, dict[str, float]]:
    for url in urls:
        fresh(url)
        _step("fill", number, url=url)
    found = {name: _step(name, number, url=url) for name, url in zip(STATES, urls, strict=True)}
    if found["raw"]["removed"] != found["ours"]["removed"]:
        raise SystemExit(f"not the same rows were removed: {found}")
    return found


def files(number: int, base: Path) -> list[Figure]:
    """Return the figures of a file."""
    rounds = []
    for at in range(ROUNDS):
        place = {"ORB_DATA_DIR": f"{base}-{at}", "ORB_PERSISTENCE": "file"}
        _step("make_file", number, **place)
        rounds.append((_step("codec", number, **place), _step("file", number, **place)))
    typed, untyped = ([limits[kind] for limits, _ in rounds] for kind in ("typed", "untyped"))
    retention = [found["seconds"] for _, found in rounds]
    peer, bar = "x msgspec, typed", SLOWER[figures.FILES]
    return [
        figure("msgspec decodes and encodes it, typed", typed),
        figure("msgspec decodes and encodes it, untyped", untyped),
        figure("retention", retention, over=statistics.median(typed), peer=peer, bar=bar),
        Figure(name="peak memory", value=max(found["peak"] for _, found in rounds) / 2**20, unit="MiB"),
    ]


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
    print(f"seed {SEED}; psycopg {version('psycopg')}")
    with tempfile.TemporaryDirectory(dir=".") as work, throwaway(fsync="on", full_page_writes="on") as server:
        base = Path(work).resolve()
        for size in sizes:
            if size < LARGE:
                figures.record("compaction", size, figures.FILES, files(size, base / "files"))
            rounds = range(ROUNDS if size < LARGE else 1)
            names = [[f"{name}_{size}_{number}" for name in STATES] for number in rounds]
            in_files = [[f"sqlite:///{base}/{name}.sqlite3" for name in three] for three in names]
            figures.record("compaction", size, figures.SQLITE, tables(figures.SQLITE, size, in_files))
            in_server = [[database(server, name) for name in three] for three in names]
            figures.record("compaction", size, figures.POSTGRESQL, tables(figures.POSTGRESQL, size, in_server))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
