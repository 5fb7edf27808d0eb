"""Measures how the cost of each kind of work grows with what is stored, and draws it.

python -m benchmarks.scaling [NUMBER OF REFLECTIONS ...]

Writes `benchmarks/scaling.json` and the plots `docs/cost/*.svg`. Each size is measured in processes of its own; times
are wall seconds, the median of several calls for what takes milliseconds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.file_store import fresh as reflection
from benchmarks.file_store import open_store, times
from benchmarks.migration import FILE, PRODUCTION, fresh
from benchmarks.plots import Line, plot
from benchmarks.reflections import make

SIZES = (1_000, 10_000, 100_000)
ROUNDS = 31
HERE = Path(__file__).parent
RESULTS, PLOTS = HERE / "scaling.json", HERE.parent / "docs/cost"
REQUESTS = {
    "save": "save, file",
    "latest": "latest 100 of a user, file",
    "save in SQL": "save, SQLite",
    "latest in SQL": "latest 100 of a user, SQLite",
    "word": "first page of a search, SQLite",
}
RUNS = {
    "open": "open a file and read",
    "fold": "fold of a file",
    "migrate": "first migration, file to SQLite",
    "repeat": "repeated migration, unchanged",
    "verify": "verification",
    "index": "build of the search index",
    "retain": "retention that removes half",
}


def timed(act: Callable[[], object]) -> float:
    """Return the wall seconds of a call."""
    return times([act])[0]


def median(act: Callable[[], object]) -> float:
    """Return the median of the wall seconds of several calls, after a first one."""
    act()
    return statistics.median(times([act] * ROUNDS))


def files(base: Path) -> dict[str, float]:
    """Measure the file store."""
    from te.records import Reflection

    def latest() -> object:
        return store.find(Reflection, {"user_id": "user-0"}, limit=100)

    store = open_store(base)
    found = {"open": timed(latest)}
    numbers = iter(range(10_000))
    found["save"] = median(lambda: store.put([reflection(next(numbers))]))
    return found | {"latest": median(latest), "fold": timed(store.fold)}


def tables(base: Path) -> dict[str, float]:
    """Measure migration, verification, requests, the index and retention on SQLite."""
    from orbsite.operations.migration.migrate import migrate
    from orbsite.operations.migration.verify import verify
    from orbsite.operations.retention.apply import retain
    from orbsite.search.indexer import SearchIndex
    from orbsite.search.query import read
    from orbsite.search.search import Searched
    from orbsite.storage.clock import utc_now
    from orbsite.storage.retention.policy import Policy
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN
    from te.records import Reflection

    store, index, numbers = open_sql_store(DOMAIN), SearchIndex(DOMAIN, Reflection), iter(range(10_000))

    def build() -> None:
        while not index.go_on(utc_now).is_over:
            pass

    def move() -> object:
        return migrate([DOMAIN], base, now=utc_now)

    def latest() -> object:
        return store.find(Reflection, {"user_id": "user-0"}, limit=100)

    def page() -> object:
        return Searched(DOMAIN, "default", Reflection, read("plan"), {}).find(Reflection, {}, limit=100)

    found = {"migrate": timed(move), "repeat": timed(move), "verify": timed(lambda: verify([DOMAIN], base))}
    found |= {"index": timed(build), "word": median(page), "latest in SQL": median(latest)}
    found["save in SQL"] = median(lambda: store.put([reflection(next(numbers))]))
    half = Policy(max_per_session=_middle(store))
    return found | {"retain": timed(lambda: retain([store], half, now=utc_now, force=True))}


def _middle(store: Any) -> int:
    """Return half of the number of reflections in a session."""
    from te.records import Reflection

    sessions = len({one.session_id for one in store.walk(Reflection)})
    return max(1, int(store.count(Reflection)) // sessions // 2)


STEPS = {"files": files, "tables": tables}


def measure(size: int, work: Path) -> dict[str, float]:
    """Measure one size, each step in a process of its own, and return its seconds."""
    base = work / str(size)
    (base / "te").mkdir(mode=0o700, parents=True)
    found: dict[str, float] = {}
    url = f"sqlite:///{work}/{size}.sqlite3"
    fresh(url)
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "orbsite.settings", "DATABASE_URL": url, **PRODUCTION}
    for name in STEPS:
        (base / FILE).write_bytes(make(size))
        (base / FILE).chmod(0o600)
        command = [sys.executable, "-m", "benchmarks.scaling", name, str(base)]
        printed = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True).stdout
        found |= json.loads(printed)
    return found


def draw(found: dict[int, dict[str, float]]) -> None:
    """Draw the plots of what was measured."""
    PLOTS.mkdir(exist_ok=True)
    for file, title, names in (("requests", "One request", REQUESTS), ("runs", "One run over everything", RUNS)):
        lines = [Line(label, [(size, one[name]) for size, one in found.items()]) for name, label in names.items()]
        (PLOTS / f"{file}.svg").write_text(plot(title, "stored reflections", lines))


def main() -> None:
    """Measure all sizes, print and keep their seconds, and draw them."""
    if sys.argv[1:2] and sys.argv[1] in STEPS:
        import django

        django.setup()
        print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]))))
        return
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    with tempfile.TemporaryDirectory(dir=".") as work:
        found = {size: measure(size, Path(work).resolve()) for size in sizes}
    for name, label in (REQUESTS | RUNS).items():
        print(f"{label:40}", *(f"{one[name] * 1e3:12,.2f} ms" for one in found.values()))
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    draw(found)


if __name__ == "__main__":
    main()
