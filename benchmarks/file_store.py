"""Measures the file store, compared with TinyDB and with plain disk writes, in one run.

python -m benchmarks.file_store [NUMBER OF REFLECTIONS ...]
"""

from __future__ import annotations

import gc
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import msgspec

from benchmarks import figures
from benchmarks.decode import File
from benchmarks.figures import Bar, Figure, figure
from benchmarks.reflections import FILE, SEED, write
from benchmarks.timing import peak, seconds, times

if TYPE_CHECKING:
    from orbsite.storage.file.store import FileStore

TITLE = "File store"
NOTES = """
Saves and appends take turns, because the disk is not the same from one second to the next. TinyDB writes the whole
file for each save.

The bar of a save is for a quiet disk, and is reached there by a small margin only: a program that pauses between its
saves finds nothing of it in the processor's caches, which costs more than what was cut. Where others keep the disk
busy, syncs of 3 to 4 ms hide the rest of a save, and a single median goes up where the disk changes its pace between
a save and its append.

Profiled: a save validated each record twice by the slow path (now once, by a strict decoder), attempted `mkdir` each
time, and joined paths for messages that are never shown: 240 µs of Python became 90. A save made 36 system calls, and
makes 28: the journal's last line is read by `pread`, the status of the directory is asked for once instead of three
times, and that of the document twice; no check, sync or lock went. Opening looked for repeated keys, which only
validation has to tell. A fold walked every text of every record: 2.8 s became 1.1.
"""
SIZES = (1_000, 10_000, 100_000)
SAVES, TINY_SAVES, READS, OPENS, MANY_SAVES = 300, 5, 300, 3, 10_000
SAVE = Bar(2.5)


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


def tiny(base: Path, data: bytes, number: int) -> list[float]:
    """Return the times of saves in TinyDB."""
    import tinydb

    path = base / "tiny.json"
    items = [item for items in msgspec.json.decode(data)["sessions"].values() for item in items]
    path.write_bytes(msgspec.json.encode({"_default": {str(at): item for at, item in enumerate(items, 1)}}))
    database = tinydb.TinyDB(path)
    found = times([lambda: database.insert(items[0])] * number)
    path.unlink()
    return found


def together(store: FileStore, threads: int, number: int) -> float:
    """Return the time per save while several threads save, which share syncs."""

    def save(start: int) -> None:
        for index in range(start, start + number):
            store.put([fresh(index)])

    jobs = [threading.Thread(target=save, args=(start,)) for start in range(0, threads * number, number)]

    def run() -> None:
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()

    return seconds(run) / threads / number


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


def measure(size: int, base: Path) -> list[Figure]:
    """Return the figures of one file size."""
    from te.records import Reflection

    data = write(base, size)
    store = open_store(base)
    decoding = times([lambda: msgspec.json.decode(data, type=File)] * OPENS)
    opening = times([lambda: open_store(base).find(Reflection, {"user_id": "user-0"}, limit=100)] * OPENS)
    saves, limit = _saves_and_appends(base, store)
    reading = times([lambda: store.find(Reflection, {"user_id": "user-0"}, limit=100)] * READS)
    fetching = times([lambda: store.fetch(Reflection, [("fresh-1",)])] * READS)
    shared, folding = together(store, 8, SAVES // 2), seconds(store.fold)
    decode, save, append = map(statistics.median, (decoding, saves, limit))
    return [
        Figure(name="the file", value=len(data) / 1e6, unit="MB"),
        figure("msgspec decodes it", decoding, "ms"),
        figure("cold open, and a user's latest 100", opening, "ms", over=decode, peer="x msgspec"),
        figure("one save, acknowledged", saves, "ms", over=append, peer="x the append", bar=SAVE),
        figure("the same bytes appended, `fdatasync`", limit, "ms"),
        figure("one save of eight threads that share syncs", shared, "ms"),
        figure("warm: a user's latest 100", reading, "ms"),
        figure("warm: one by id", fetching, "ms"),
        figure("fold", folding, "ms"),
        figure("one save of TinyDB", tiny(base, data, TINY_SAVES), "ms", over=save, peer="x a save"),
        *_memory(base),
    ]


def _saves_and_appends(base: Path, store: FileStore) -> tuple[list[float], list[float]]:
    """Return the times of saves, and of appends of as many bytes; they take turns, because the disk changes."""
    store.put([fresh(0)])
    journal = (base / FILE).with_suffix(".json.journal")
    line = journal.read_bytes().splitlines(keepends=True)[-1] if journal.exists() else b"x" * 700
    saved: list[float] = []
    limit: list[float] = []
    for start in range(0, SAVES, 50):
        saved += times([partial(store.put, [fresh(index)]) for index in range(start, start + 50)])
        limit += appends(base, line, 50)
    return saved, limit


def _memory(base: Path) -> list[Figure]:
    """Return the memory of an open store, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.file_store", "memory", str(base)]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    before, after, most = map(int, printed.split())
    kinds = {"what is kept": after - before, "the process": after, "its peak while opening": most}
    size = (base / FILE).stat().st_size
    return [
        Figure(name=f"memory: {kind}", value=number / 2**20, unit="MiB", ratio=number / size, peer="x the file")
        for kind, number in kinds.items()
    ]


def many_saves(base: Path) -> list[Figure]:
    """Return the waits of 10,000 consecutive saves, while one fold goes on."""
    store = open_store(base)
    journal, limit = (base / FILE).with_suffix(".json.journal"), (base / FILE).stat().st_size // 4
    store.put([fresh(0)])
    while journal.exists() and journal.stat().st_size < limit - MANY_SAVES * 350:  # so that one of them folds
        store.put([fresh(index) for index in range(1000)])
    saved = times([partial(store.put, [fresh(index)]) for index in range(MANY_SAVES)])
    return figures.waits(f"{MANY_SAVES:,} saves, during which a fold becomes due", saved)


def main() -> None:
    """Measure all sizes, and print and record times and ratios."""
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
    with tempfile.TemporaryDirectory(dir=".") as work:
        for size in sizes:
            base = Path(work) / str(size)
            found = measure(size, base)
            if size == sizes[-1]:
                found += many_saves(base)
            shutil.rmtree(base)
            figures.record("file_store", size, figures.FILES, found)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
