"""Measures how the cost of each kind of work grows with what is stored, and draws it.

python -m benchmarks.scaling [NUMBER OF REFLECTIONS ...]

Draws the plots `docs/cost/*.svg` of all sizes that were ever measured. Each size is measured in processes of its own;
times are wall seconds, of several calls for what takes milliseconds.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.figures import Run, figure
from benchmarks.file_store import fresh as reflection
from benchmarks.file_store import open_store
from benchmarks.plots import Line, plot
from benchmarks.processes import fresh, step
from benchmarks.reflections import write
from benchmarks.timing import seconds, times

TITLE = "Cost against size"
NOTES = """
Wall time. [What grows with size](../docs/explanation/cost.md) has the plots. The build of the index is the only work
of which a record costs more at a million than at a hundred thousand.
"""
SIZES = (1_000, 10_000, 100_000)
ROUNDS = 31
PLOTS = Path(__file__).parents[1] / "docs/cost"
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


def once(act: Callable[[], object]) -> list[float]:
    """Return the wall seconds of a call."""
    return [seconds(act)]


def often(act: Callable[[], object]) -> list[float]:
    """Return the wall seconds of several calls, after a first one."""
    act()
    return times([act] * ROUNDS)


def files(base: Path) -> dict[str, list[float]]:
    """Measure the file store."""
    from te.records import Reflection

    def latest() -> object:
        return store.find(Reflection, {"user_id": "user-0"}, limit=100)

    store = open_store(base)
    found = {"open": once(latest)}
    numbers = iter(range(10_000))
    found["save"] = often(lambda: store.put([reflection(next(numbers))]))
    return found | {"latest": often(latest), "fold": once(store.fold)}


def tables(base: Path) -> dict[str, list[float]]:
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

    found = {"migrate": once(move), "repeat": once(move), "verify": once(lambda: verify([DOMAIN], base))}
    found |= {"index": once(build), "word": often(page), "latest in SQL": often(latest)}
    found["save in SQL"] = often(lambda: store.put([reflection(next(numbers))]))
    half = Policy(max_per_session=_middle(store))
    return found | {"retain": once(lambda: retain([store], half, now=utc_now, force=True))}


def _middle(store: Any) -> int:
    """Return half of the number of reflections in a session."""
    from te.records import Reflection

    sessions = len({one.session_id for one in store.walk(Reflection)})
    return max(1, int(store.count(Reflection)) // sessions // 2)


STEPS = {"files": files, "tables": tables}


def measure(size: int, work: Path) -> dict[str, list[float]]:
    """Measure one size, each step in a process of its own, and return its seconds."""
    base, url = work / str(size), f"sqlite:///{work}/{size}.sqlite3"
    fresh(url)
    found: dict[str, list[float]] = {}
    for name in STEPS:
        write(base, size)
        found |= step("benchmarks.scaling", name, base, url=url)
    return found


def draw(runs: list[Run]) -> None:
    """Draw the plots of what was measured."""
    PLOTS.mkdir(exist_ok=True)
    found = {run.size: {one.name: one.value / 1e3 for one in run.figures} for run in runs}
    for file, title, names in (("requests", "One request", REQUESTS), ("runs", "One run over everything", RUNS)):
        lines = [Line(label, [(size, one[label]) for size, one in found.items()]) for label in names.values()]
        (PLOTS / f"{file}.svg").write_text(plot(title, "stored reflections", lines))


def main() -> None:
    """Measure all sizes, record their times, and draw them."""
    if sys.argv[1:2] and sys.argv[1] in STEPS:
        import django

        django.setup()
        print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]))))
        return
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    with tempfile.TemporaryDirectory(dir=".") as work:
        for size in sizes:
            found = measure(size, Path(work).resolve())
            recorded = [figure(label, found[name], "ms") for name, label in (REQUESTS | RUNS).items()]
            figures.record("scaling", size, figures.SQLITE, recorded)
    draw([run for run in figures.read() if run.benchmark == "scaling"])


if __name__ == "__main__":
    main()
