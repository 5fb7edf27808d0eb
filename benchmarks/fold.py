"""Measures how long others wait while the journal of a large document is folded, in their own processes.

python -m benchmarks.fold [NUMBER OF REFLECTIONS ...]

One process folds while a thread of it reads; another process saves and a third one reads all the time. Beside it stands
the raw limit: writing, hashing and syncing the document's bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

from benchmarks import figures
from benchmarks.figures import Bar, Figure, figure, waits
from benchmarks.file_store import fresh, open_store
from benchmarks.reflections import FILE, SEED, write
from benchmarks.timing import memory, peak

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbsite.storage.file.store import FileStore

TITLE = "Fold"
NOTES = """
One process folds while a thread of it reads; another process saves and a third one reads, every 5 ms. Idle is the
time before the fold. The processor's time of a fold includes the reads of its thread.

Before, a fold held the lock from its beginning to its end: 13.5 s of the processor at 1,000,000, with `LockTimeout`
for others and a new reading of everything by each process. The swap holds the lock for 10 to 15 ms: one append and
three syncs. The longest save of a large fold waits for the disk, which has the document's bytes to write. On the way,
the copy of all sessions under the lock took 119 ms at 300,000 (it is made in parts of 2,000 items now, and a save
copies what it changes first), the collector of garbage walked over all records for 0.6 s, and the document was hashed
again for 1.1 s while its status was younger than a tick. Memory during a fold is that of the process, what the store
keeps, and the printed document once. Until 29 November, the figure was that of the process that had also made the data.
"""
SIZES = (100_000,)
LONGEST_SAVE, LONGEST_READ, PEAK, NOT_AGAIN = Bar(50), Bar(20), Bar(2.5), Bar(0)
"""Milliseconds of a wait; the memory over the size of the file; how often others read the document again."""
_PEAK_RESET = Path("/proc/self/clear_refs")
_PAUSE = 0.005
"""Seconds between two saves or two reads of one process."""


def _timed(act: Callable[[], object], is_over: Callable[[], bool]) -> list[tuple[float, float]]:
    """Act until it is over; return when each call began, and how long it took, in seconds."""
    found = []
    while not is_over():
        begin = time.monotonic()
        act()
        found.append((begin, time.monotonic() - begin))
        time.sleep(_PAUSE)
    return found


def _saver(store: FileStore) -> Callable[[], object]:
    number = iter(range(10**9))
    mark = os.getpid()
    return lambda: store.put([fresh(mark * 1_000_000 + next(number))])


def reader(store: FileStore) -> Callable[[], object]:
    """Return a call that reads one record by its key."""
    from te.records import Reflection

    (key,) = store.examine(lambda content: content.view.keys(Reflection))[:1]
    return lambda: store.fetch(Reflection, [key])


def follow(verb: str, base: Path) -> None:
    """Save or read until the file `stop` exists; print the calls, and how often the document was read again."""
    stores: Any = import_module("orbsite.storage.file.store")
    loads, usual = [0], stores.load

    def load(*args: Any, **options: Any) -> Any:
        loads[0] += 1
        return usual(*args, **options)

    stores.load = load
    act = {"save": _saver, "read": reader}[verb](open_store(base))
    act()
    (base / f"{verb}.ready").touch()
    loads[0] = 0
    calls = _timed(act, (base / "stop").exists)
    sys.stdout.write(json.dumps({"calls": calls, "loads": loads[0], "peak": peak()}))


def _raw(base: Path, data: bytes) -> dict[str, float]:
    begin, cpu = time.monotonic(), time.process_time()
    hashlib.sha256(data)
    with (base / "raw").open("wb") as file:
        file.write(data)
        os.fsync(file.fileno())
    (base / "raw").unlink()
    return {"wall": time.monotonic() - begin, "cpu": time.process_time() - cpu}


def _waits(name: str, calls: list[tuple[float, float]], during: tuple[float, float], longest: Bar) -> list[Figure]:
    """Return the waits of calls while a fold goes on, and those before it. Raises RuntimeError if there are none."""
    begin, end = during
    busy = [took for start, took in calls if start < end and start + took > begin]
    idle = [took for start, took in calls if start + took <= begin]
    if not busy or not idle:
        raise RuntimeError(f"too few calls ({len(busy)} during, {len(idle)} before): measure a larger document")
    return waits(name, busy, longest) + waits(f"{name}, idle", idle)


def measure(size: int, base: Path) -> list[Figure]:
    """Return the figures of one fold at a size."""
    base.mkdir(mode=0o700)
    subprocess.run([sys.executable, "-m", "benchmarks.fold", "write", str(base), str(size)], check=True)
    store = open_store(base)
    store.put([fresh(0)])
    command = [sys.executable, "-m", "benchmarks.fold"]
    others = {
        verb: subprocess.Popen([*command, verb, str(base)], stdout=subprocess.PIPE, text=True)
        for verb in ("save", "read")
    }
    while not all((base / f"{verb}.ready").exists() for verb in others):
        time.sleep(0.05)
    own: list[tuple[float, float]] = []
    over = threading.Event()
    reading = threading.Thread(target=lambda: own.extend(_timed(reader(store), over.is_set)))
    reading.start()
    time.sleep(2)
    opened, kept = peak(), memory()
    _PEAK_RESET.write_text("5")
    begin, cpu = time.monotonic(), time.process_time()
    if not store.fold_concurrently():
        raise RuntimeError("the document was not folded: measure a larger one")
    end, cpu, most = time.monotonic(), time.process_time() - cpu, peak()
    time.sleep(1)
    over.set()
    reading.join()
    (base / "stop").touch()
    found = {verb: json.loads(other.communicate()[0]) for verb, other in others.items()}
    data = (base / FILE).read_bytes()
    raw, during, again = _raw(base, data), (begin, end), found["save"]["loads"] + found["read"]["loads"]
    return [
        figure("the fold", end - begin, over=raw["wall"], peer="x write, hash and sync"),
        figure("the fold, processor", cpu, over=raw["cpu"], peer="x write, hash and sync"),
        figure("write, hash and sync the same bytes", raw["wall"]),
        *_waits("saves of another process", found["save"]["calls"], during, LONGEST_SAVE),
        *_waits("reads of another process", found["read"]["calls"], during, LONGEST_READ),
        *_waits("reads of the process itself", own, during, LONGEST_READ),
        Figure(name="documents that others read again", value=again, bar=NOT_AGAIN),
        _memory("peak memory of the process during the fold", most, data, PEAK),
        _memory("its memory before the fold", kept, data),
        _memory("its peak while it opened the file", opened, data),
    ]


def _memory(name: str, most: int, data: bytes, bar: Bar | None = None) -> Figure:
    return Figure(name=name, value=most / 2**20, unit="MiB", ratio=most / len(data), peer="x the file", bar=bar)


def main(arguments: list[str]) -> None:
    """Measure at each size in a directory of its own."""
    django.setup()
    if arguments[:1] == ["write"]:  # in a process of its own, because it takes more memory than a fold
        write(Path(arguments[1]), int(arguments[2]))
        return
    if arguments[:1] and arguments[0] in ("save", "read"):
        follow(arguments[0], Path(arguments[1]))
        return
    print(f"seed {SEED}; Python {platform.python_version()}, {os.cpu_count()} cores {platform.machine()}")
    for size in map(int, arguments) if arguments else SIZES:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as work:
            found = measure(size, Path(work) / "data")
        figures.record("fold", size, figures.FILES, found)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orbsite.settings")
    main(sys.argv[1:])
