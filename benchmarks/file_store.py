"""Measures the file store, compared with TinyDB and with plain disk writes, in one run.

python -m benchmarks.file_store [NUMBER OF REFLECTIONS ...]
"""

from __future__ import annotations

import gc
import hashlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import msgspec

from benchmarks.decode import File, best
from benchmarks.reflections import SEED, make

if TYPE_CHECKING:
    from orbsite.storage.file.store import FileStore

SIZES = (1_000, 10_000, 100_000)
SAVES, TINY_SAVES, READS, MANY_SAVES = 300, 5, 300, 10_000
TINYDB_FROM_SIZE = {1_000: 20, 10_000: 7, 100_000: 3}


def times(calls: Iterable[Callable[[], object]]) -> list[float]:
    """Return the duration of each call, in seconds."""
    found = []
    for call in calls:
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return found


def fresh(index: int) -> Any:
    """Return a new reflection of the usual size."""
    from orbsite.storage.clock import utc_now
    from te.records import Reflection

    return Reflection(
        id=f"fresh-{index}",
        input="x" * 120,
        output="y" * 300,
        tags=("success", "io"),
        notes="Task status: completed",
        created_at=utc_now(),
        user_id="user-0",
        session_id="session-0",
    )


def open_store(base: Path) -> FileStore:
    """Return the store without cached content."""
    from orbsite.storage.file.document import Document
    from orbsite.storage.file.store import FileStore
    from te.domain import DOMAIN

    return FileStore(DOMAIN, Document(base, DOMAIN.file))


def appends(base: Path, line: bytes, number: int) -> list[float]:
    """Return the times of appending and syncing a line."""
    descriptor = os.open(base / "limit", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def append() -> None:
        os.write(descriptor, line)
        os.fdatasync(descriptor)

    try:
        return times([append] * number)
    finally:
        os.close(descriptor)


def tiny(base: Path, data: bytes, number: int) -> float:
    """Return the times of saves in TinyDB."""
    import tinydb

    path = base / "tiny.json"
    items = [item for items in msgspec.json.decode(data)["sessions"].values() for item in items]
    path.write_bytes(msgspec.json.encode({"_default": {str(at): item for at, item in enumerate(items, 1)}}))
    database = tinydb.TinyDB(path)
    found = times([lambda: database.insert(items[0])] * number)
    path.unlink()
    return statistics.median(found)


def together(store: FileStore, threads: int, number: int) -> float:
    """Return the time per save while several threads save, which share syncs."""
    jobs = [
        threading.Thread(target=lambda start=start: [store.put([fresh(start + index)]) for index in range(number)])
        for start in range(0, threads * number, number)
    ]
    begin = time.perf_counter()
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    return (time.perf_counter() - begin) / threads / number


def peak() -> int:
    """Return the peak memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def resident() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory(base: Path) -> None:
    """Print the memory of an open store in a new process, without the memory of the process itself."""
    store = open_store(base)
    from te.records import Reflection

    gc.collect()
    before = resident()
    store.find(Reflection, {"user_id": "user-0"}, limit=100)
    gc.collect()
    print(before, resident(), peak())


def measure(size: int, base: Path) -> dict[str, float]:
    """Measure one file size, and print the results."""
    from te.records import Reflection

    data = make(size)
    path = base / "te/reflections.json"
    path.parent.mkdir(mode=0o700, parents=True)
    base.chmod(0o700)
    path.write_bytes(data)
    path.chmod(0o600)
    found: dict[str, float] = {"bytes": len(data)}
    found["msgspec decodes"] = best(lambda: msgspec.json.decode(data, type=File))
    found["hashing alone"] = best(lambda: hashlib.sha256(data).digest())

    def cold() -> None:
        open_store(base).find(Reflection, {"user_id": "user-0"}, limit=100)

    found["cold open and find"] = best(cold)
    store = open_store(base)
    store.put([fresh(0)])
    line = (
        (base / "te/reflections.json.journal").read_bytes().splitlines(keepends=True)[-1]
        if size > SIZES[0]
        else b"x" * 700
    )
    saved: list[float] = []
    limit: list[float] = []
    for start in range(0, SAVES, 50):  # in turns, for the disk is not the same from one second to the next
        saved += times([lambda index=index: store.put([fresh(index)]) for index in range(start, start + 50)])
        limit += appends(base, line, 50)
    found["save, median"], found["append, median"] = statistics.median(saved), statistics.median(limit)
    reads = times([lambda: store.find(Reflection, {"user_id": "user-0"}, limit=100)] * READS)
    found["warm latest 100"] = statistics.median(reads)
    found["warm one by id"] = statistics.median(times([lambda: store.fetch(Reflection, [("fresh-1",)])] * READS))
    found["save in 8 threads, each"] = together(store, 8, SAVES // 2)
    found["fold"] = times([store.fold])[0]
    found["TinyDB save"] = tiny(base, data, TINYDB_FROM_SIZE.get(size, 3))
    command = [sys.executable, "-m", "benchmarks.file_store", "memory", str(base)]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    before, after, most = map(int, printed.split())
    found["resident, over the file"] = (after - before) / path.stat().st_size
    found["resident with the process, over the file"] = after / path.stat().st_size
    found["peak with the process, over the file"] = most / path.stat().st_size
    return found


def many_saves(base: Path, size: int) -> None:
    """Print the distribution of 10,000 consecutive saves, including one fold."""
    store = open_store(base)
    journal, limit = base / "te/reflections.json.journal", (base / "te/reflections.json").stat().st_size // 4
    store.put([fresh(0)])
    while journal.exists() and journal.stat().st_size < limit - MANY_SAVES * 350:  # so that one of them folds
        store.put([fresh(index) for index in range(1000)])
    saved = sorted(times([lambda index=index: store.put([fresh(index)]) for index in range(MANY_SAVES)]))
    p50, p99, worst = saved[MANY_SAVES // 2], saved[MANY_SAVES * 99 // 100], saved[-1]
    print(f"{MANY_SAVES:,} saves, one of which folds, at {size:,}: ", end="")
    print(f"p50 {p50 * 1e3:.2f}, p99 {p99 * 1e3:.2f}, max {worst * 1e3:.2f} ms")


def main() -> None:
    """Measure all sizes, and print times and ratios."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    if sys.argv[1:2] == ["memory"]:
        memory(Path(sys.argv[2]))
        return
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    print(
        f"seed {SEED}; msgspec {version('msgspec')}, TinyDB {version('tinydb')}, Python {platform.python_version()}, ",
        end="",
    )
    print(f"{os.cpu_count()} cores, {platform.machine()}")
    results = {}
    with tempfile.TemporaryDirectory(dir=".") as work:
        for size in sizes:
            base = Path(work) / str(size)
            results[size] = measure(size, base)
            if size == sizes[-1]:
                many_saves(base, size)
            shutil.rmtree(base)
    for name in results[sizes[0]]:
        values = [results[size][name] for size in sizes]
        print(f"{name:42}", *(f"{value:14,.6g}" for value in values))
    for size in sizes:
        one = results[size]
        print(
            f"{size:>9,}: save {one['save, median'] / one['append, median']:.2f} x append; "
            f"TinyDB {one['TinyDB save'] / one['save, median']:,.0f} x save; "
            f"cold open {one['cold open and find'] / one['msgspec decodes']:.2f} x msgspec"
        )
    if len(sizes) > 1:
        growth = results[sizes[-1]]["save, median"] / results[sizes[-2]]["save, median"]
        print(f"save at {sizes[-1]:,}: {growth:.2f} x at {sizes[-2]:,}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
