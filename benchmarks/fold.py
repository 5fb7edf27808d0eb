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
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

from benchmarks.file_store import fresh, open_store, peak
from benchmarks.reflections import SEED, make

if TYPE_CHECKING:
    from collections.abc import Callable

    from orbsite.storage.file.store import FileStore

SIZES = (100_000,)
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
    from orbsite.storage.file import store as stores

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


def _line(name: str, calls: list[tuple[float, float]], begin: float, end: float) -> None:
    waits = [took for start, took in calls if start < end and start + took > begin]
    idle = [took for start, took in calls if start + took <= begin]
    if not waits or not idle:
        print(f"  {name}: too few calls ({len(waits)} during, {len(idle)} before)")
        return
    print(f"  {name}, ms: {spread(waits)} during the fold; {spread(idle)} before it")


def spread(waits: list[float]) -> str:
    """Return the median, the 99th percentile and the longest of some waits in seconds, as milliseconds."""
    p99 = sorted(waits)[int(len(waits) * 0.99)]
    median, longest = statistics.median(waits), max(waits)
    return f"median {median * 1e3:.2f}, p99 {p99 * 1e3:.1f}, longest {longest * 1e3:.1f} (n={len(waits)})"


def measure(size: int, base: Path) -> None:
    """Print the waits during one fold at a size."""
    path = base / "te" / "reflections.json"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(make(size))
    path.chmod(0o600)
    data = path.read_bytes()
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
    before = peak()
    begin, cpu = time.monotonic(), time.process_time()
    is_folded = store.fold_concurrently()
    end, cpu = time.monotonic(), time.process_time() - cpu
    time.sleep(1)
    over.set()
    reading.join()
    (base / "stop").touch()
    found = {verb: json.loads(other.communicate()[0]) for verb, other in others.items()}
    raw = _raw(base, data)
    print(
        f"fold at {size:,} ({len(data) / 1e6:.0f} MB), done: {is_folded}: {end - begin:.2f} s, {cpu:.2f} s CPU; "
        f"write, hash and sync {raw['wall']:.2f} s, {raw['cpu']:.2f} s CPU; "
        f"peak {peak() / len(data):.1f} x the file, {before / len(data):.1f} x before"
    )
    _line("saves of another process", found["save"]["calls"], begin, end)
    _line("reads of another process", found["read"]["calls"], begin, end)
    _line("reads of the process itself", own, begin, end)
    print(f"  documents read again by others: {found['save']['loads'] + found['read']['loads']}")


def main(arguments: list[str]) -> None:
    """Measure at each size in a directory of its own."""
    django.setup()
    if arguments[:1] and arguments[0] in ("save", "read"):
        follow(arguments[0], Path(arguments[1]))
        return
    print(f"seed {SEED}; Python {platform.python_version()}, {os.cpu_count()} cores {platform.machine()}")
    for size in map(int, arguments) if arguments else SIZES:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as work:
            base = Path(work) / "data"
            base.mkdir(mode=0o700)
            measure(size, base)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orbsite.settings")
    main(sys.argv[1:])
