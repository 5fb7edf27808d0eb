"""Measures what reads and saves of other processes wait for while a long run goes on in SQL.

python -m benchmarks.long_runs [NUMBER OF REFLECTIONS [postgresql]]

A process reads by key, and in another database one saves, every 5 ms, during a migration, the build of the search
index, a verification and retention, each in a process of its own. What they wait for before the first run is idle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.figures import Bar, Figure, figure, waits
from benchmarks.processes import database, environment, fresh, step
from benchmarks.reflections import write
from tests.support.postgresql import throwaway

TITLE = "Reads and saves during long runs in SQL"
NOTES = """
Another process reads, or saves in another database, every 5 ms, while a run goes on in a process of its own. SQLite
has a rollback journal, which lets readers wait while a transaction is written. A write-ahead log would not, but a
race in SQLite before 3.51.3, 3.50.7 and 3.44.6 can lose commits or damage the database when the log is reset, and
Debian 12 has 3.40.1: see [Guarantees](../docs/explanation/guarantees.md). Use PostgreSQL where reads must not wait.
"""
SIZE, IDLE, PAUSE = 100_000, 3.0, 0.005
"""The number of reflections; the seconds before the first run; the seconds between two calls."""
P99 = Bar(3)
"""By which the 99th percentile of reads may exceed that of idle reads."""
Calls = list[tuple[float, float]]
"""When each call began, by the monotonic clock, and how long it took, in seconds."""


def migration(base: Path) -> None:
    """Migrate the file."""
    from orbsite.operations.migration.migrate import migrate
    from orbsite.storage.clock import utc_now
    from te.domain import DOMAIN

    migrate([DOMAIN], base, now=utc_now)


def verification(base: Path) -> None:
    """Compare the file with the table."""
    from orbsite.operations.migration.verify import verify
    from te.domain import DOMAIN

    verify([DOMAIN], base)


def index(_: Path) -> None:
    """Build the search index."""
    from orbsite.search.indexer import SearchIndex
    from orbsite.storage.clock import utc_now
    from te.domain import DOMAIN
    from te.records import Reflection

    while not SearchIndex(DOMAIN, Reflection).go_on(utc_now).is_over:
        pass


def retention(_: Path) -> None:
    """Remove half of each session."""
    from orbsite.operations.retention.apply import retain
    from orbsite.storage.clock import utc_now
    from orbsite.storage.retention.policy import Policy
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN

    retain([open_sql_store(DOMAIN)], Policy(max_per_session=25), now=utc_now, force=True)


RUNS = {"a migration": migration, "the build of the index": index, "a verification": verification}
RUNS |= {"retention": retention}


def timed(run: Callable[[Path], None], base: Path) -> tuple[float, float]:
    """Return when a run began and ended, by the monotonic clock."""
    begin = time.monotonic()
    run(base)
    return begin, time.monotonic()


def follow(verb: str, base: Path) -> Calls:
    """Save or read until the file `stop` exists, and return the calls."""
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN
    from te.records import Reflection

    store, calls, number = open_sql_store(DOMAIN), Calls(), 0

    def save() -> None:
        store.put([_reflection(f"{verb}-{number}")])

    def read() -> None:
        store.fetch(Reflection, [("other", f"{verb}-0")])

    save()
    act = {"save": save, "read": read}[verb]
    (base / f"{verb}.ready").touch()
    while not (base / "stop").exists():
        number += 1
        begin = time.monotonic()
        act()
        calls.append((begin, time.monotonic() - begin))
        time.sleep(PAUSE)
    return calls


def _reflection(name: str) -> Any:
    from te.records import Reflection

    return Reflection(
        id=name, user_id="other", session_id=name, input="i", output="o", tags=(), created_at=datetime.now(UTC)
    )


def measure(verb: str, size: int, base: Path, url: str) -> list[Figure]:
    """Return the waits of reads or of saves during each run, and before the first one."""
    fresh(url)
    write(base, size)
    other = _started(verb, base, url)
    while not (base / f"{verb}.ready").exists():
        time.sleep(0.05)
    idle = (time.monotonic(), time.monotonic() + IDLE)
    time.sleep(IDLE)
    during = {name: step("benchmarks.long_runs", name, base, url=url) for name in RUNS}
    (base / "stop").touch()
    printed, _ = other.communicate()
    if other.returncode:
        raise SystemExit(f"the process that should {verb} ended with {other.returncode}")
    took = [figure(f"{name} beside {verb}s takes", end - begin) for name, (begin, end) in during.items()]
    return _waits(verb, json.loads(printed), idle, during) + took


def _started(verb: str, base: Path, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.long_runs", verb, str(base)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(url))


def _waits(verb: str, calls: Calls, idle: tuple[float, float], during: dict[str, tuple[float, float]]) -> list[Figure]:
    alone = _between(calls, *idle)
    found = waits(f"{verb}s, idle", alone)
    for name, (begin, end) in during.items():
        bar = P99 if verb == "read" else None
        found += waits(f"{verb}s during {name}", _between(calls, begin, end), idle=alone, p99=bar)
    return found


def _between(calls: Calls, begin: float, end: float) -> list[float]:
    """Return the seconds of the calls of a period. Raises RuntimeError if there are none."""
    took = [seconds for start, seconds in calls if start < end and start + seconds > begin]
    if not took:
        raise RuntimeError("no call in a period: measure more reflections")
    return took


def main() -> None:
    """Record the waits at a size in one database."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else SIZE
    kind = sys.argv[2] if len(sys.argv) > 2 else "sqlite"  # noqa: PLR2004
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="."))).resolve()
        urls = {verb: f"sqlite:///{work}/{verb}.sqlite3" for verb in ("read", "save")}
        if kind == "postgresql":
            server = stack.enter_context(throwaway(fsync="on", full_page_writes="on"))
            urls = {verb: database(server, verb) for verb in urls}
        found = [one for verb, url in urls.items() for one in measure(verb, size, work / verb, url)]
    figures.record("long_runs", size, figures.SQLITE if kind == "sqlite" else figures.POSTGRESQL, found)


def _one_of_its_processes(name: str, base: Path) -> object:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "orbsite.settings"
    django.setup()
    return timed(RUNS[name], base) if name in RUNS else follow(name, base)


if __name__ == "__main__":
    if sys.argv[1:2] and not sys.argv[1].isdigit():
        print(json.dumps(_one_of_its_processes(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
