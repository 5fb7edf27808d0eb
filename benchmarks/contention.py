"""Measures what several processes wait for while they save to and read from one large file, through several folds.

python -m benchmarks.contention [NUMBER OF REFLECTIONS [SECONDS [PROCESSES]]]

Half of the processes save, the others read. A save is of several kilobytes, so that folds become due soon. One more
process appends as many bytes to a file of its own, without a lock, and syncs it. In the end a new process reads the
file, and counts what was acknowledged and is not there.

Then comes the limit: as many bare programs do the system calls alone for the same time, on the same cores. Half of
them lock one file, append to it, sync it and unlock it, the others read a line from it; one more writes and syncs the
bytes of the document as often as it was folded.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
import msgspec

from benchmarks import figures
from benchmarks.figures import Bar, Figure, waits
from benchmarks.file_store import fresh, open_store
from benchmarks.fold import LONGEST_READ, LONGEST_SAVE, reader
from benchmarks.reflections import FILE, SEED, write
from benchmarks.timing import peak

TITLE = "Several processes at one file"
NOTES = """
Half of the processes save, the others read, each after a pause of 2 ms; a save is of 6 kB. One more process appends
and syncs as many bytes to a file of its own: what it waits for is the disk's. Eight processes share two cores. A
process of a million keeps 2.5 GB, and its document would be folded once in some 350 MB of saves; one of the processes
folds it five times, in a thread beside its saves, as it does when a fold is due.

The bare programs run after the processes, for as long: half of them lock a file, append 6 kB, sync and unlock, the
others read a line of it, and one more writes, hashes and syncs the bytes of the document as often as it was folded.
They have no records, checks or cache.
"""
SIZE, SECONDS, PROCESSES = 100_000, 60, 8
FOLDS, FOLDING = 5, 2
"""How often the document is folded, beside the folds that become due, and the mark of the process that does it."""
_TEXT = "z" * 6000
_PAUSE = 0.002
"""Seconds between two calls of one process."""
NONE = Bar(0)
KINDS: dict[str, tuple[str, Bar | None]] = {
    "save": ("a save", LONGEST_SAVE),
    "read": ("a read", LONGEST_READ),
    "append": ("the disk alone", None),
}
BARE = {"bare-save": "a bare program's append under a lock", "bare-read": "a bare program's read"}


def bare(verb: str, mark: int, base: Path, seconds: float, *, size: int = 0, folds: int = 1) -> None:
    """Make the system calls of saves, reads or folds for a time, and print the waits; `append` has its own file."""
    took, document = list[float](), b"d" * size
    pause = seconds / max(1, folds) if verb == "bare-fold" else _PAUSE
    with (base / (f"{mark}.bytes" if verb == "append" else "shared.bytes")).open("a+b", buffering=0) as file:
        acts: dict[str, Callable[[], object]] = {
            "append": lambda: _append(file),
            "bare-save": lambda: _append_alone(file),
            "bare-read": lambda: os.pread(file.fileno(), len(_TEXT), 0).split(b"\n"),
            "bare-fold": lambda: _write_anew(document, base),
        }
        _wait_for_the_others(mark, base)
        end = time.monotonic() + seconds
        while (begin := time.monotonic()) < end:
            acts[verb]()
            took.append(time.monotonic() - begin)
            time.sleep(max(_PAUSE, begin + pause - time.monotonic()) if verb == "bare-fold" else _PAUSE)
    saved = len(took) if verb == "bare-save" else 0
    sys.stdout.write(json.dumps({"waits": took, "errors": {}, "saved": saved, "peak": peak()}))


def _append(file: Any) -> None:
    file.write(_TEXT.encode())
    os.fdatasync(file.fileno())


def _append_alone(file: Any) -> None:
    fcntl.flock(file, fcntl.LOCK_EX)
    _append(file)
    fcntl.flock(file, fcntl.LOCK_UN)


def _write_anew(document: bytes, base: Path) -> None:
    hashlib.sha256(document)
    with (base / "new.bytes").open("wb") as new:
        new.write(document)
        os.fsync(new.fileno())
    (base / "new.bytes").replace(base / "document.bytes")


def _wait_for_the_others(mark: int, base: Path) -> None:
    (base / f"{mark}.ready").touch()
    while not (base / "start").exists():
        time.sleep(0.05)


def one_of_many(verb: str, mark: int, base: Path, seconds: float) -> None:
    """Save or read for a time, and print the waits, the errors and the number of acknowledged saves.

    One process also folds the document, in another thread, at regular times.
    """
    from orbsite.storage.errors import OrbError

    store = open_store(base)
    read = reader(store)
    took, errors, saved = list[float](), Counter[str](), 0
    read()
    _wait_for_the_others(mark, base)
    end = time.monotonic() + seconds
    if mark == FOLDING:
        threading.Thread(target=_fold, args=[store, seconds]).start()
    while time.monotonic() < end:
        begin = time.monotonic()
        try:
            if verb == "read":
                read()
            else:
                store.put([msgspec.structs.replace(fresh(mark * 1_000_000 + saved), output=_TEXT)])
                saved += 1
        except OrbError as problem:
            errors[type(problem).__name__] += 1
        took.append(time.monotonic() - begin)
        time.sleep(_PAUSE)
    sys.stdout.write(json.dumps({"waits": took, "errors": errors, "saved": saved, "peak": peak()}))


def _fold(store: Any, seconds: float) -> None:
    """Fold a document several times, the last time well before the end."""
    begin = time.monotonic()
    for number in range(FOLDS):
        time.sleep(max(0.0, begin + number * seconds / (FOLDS + 1) - time.monotonic()))
        store.fold_concurrently()


def lost(base: Path, saved: dict[str, int]) -> int:
    """Return how many acknowledged saves are not in the file."""
    from te.records import Reflection

    ids = [f"fresh-{int(mark) * 1_000_000 + number}" for mark, many in saved.items() for number in range(many)]
    there = {one.id for one in open_store(base).find(Reflection, {"user_id": "user-0"})}
    return len(set(ids) - there)


def measure(size: int, seconds: float, processes: int, base: Path) -> list[Figure]:
    """Return the figures of the waits, and of what was lost or failed."""
    bytes_of_document = len(write(base, size))
    path = base / FILE
    verbs = [*("save" if number % 2 else "read" for number in range(processes)), "append"]
    others = _started(verbs, base, seconds)
    generations, end = {_generation(path)}, time.monotonic() + seconds
    while time.monotonic() < end:
        generations.add(_generation(path))
        time.sleep(0.2)
    found = _results(others)
    saved = {str(mark + 1): one["saved"] for mark, one in enumerate(found) if one["saved"]}
    errors = sum((Counter(one["errors"]) for one in found), Counter[str]())
    collected = [
        Figure(name="saves", value=sum(saved.values()), unit=f"in {seconds:.0f} s by {processes // 2} processes"),
        Figure(name="acknowledged saves that are lost", value=lost(base, saved), bar=NONE),
        Figure(name="calls that failed", value=errors.total(), unit=", ".join(errors), bar=NONE),
        Figure(name="folds", value=len(generations) - 1),
        Figure(name="memory of the largest process", value=max(one["peak"] for one in found) / 2**20, unit="MiB"),
    ]
    for verb, (name, bar) in KINDS.items():
        took = [wait for one, of in zip(found, verbs, strict=True) if of == verb for wait in one["waits"]]
        collected += waits(name, took, bar)
    return collected + _limits(base.with_name("bare"), processes, seconds, bytes_of_document, len(generations) - 1)


def _generation(path: Path) -> tuple[int, int]:
    """Return what differs in each fold: the number of a file is used again."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _limits(base: Path, processes: int, seconds: float, size: int, folds: int) -> list[Figure]:
    """Return the figures of bare programs that make as many system calls at once."""
    base.mkdir()
    verbs = [*("bare-save" if number % 2 else "bare-read" for number in range(processes)), "bare-fold"]
    found = _results(_started(verbs, base, seconds, size, folds))
    appended = sum(one["saved"] for one, verb in zip(found, verbs, strict=True) if verb == "bare-save")
    collected = [Figure(name="appends of bare programs", value=appended, unit=f"in {seconds:.0f} s")]
    for wanted, name in BARE.items():
        took = [wait for one, verb in zip(found, verbs, strict=True) if verb == wanted for wait in one["waits"]]
        collected += waits(name, took)
    return collected


def _started(verbs: list[str], base: Path, *arguments: float) -> list[subprocess.Popen[str]]:
    """Start a process for each verb, and return them when all of them have begun."""
    command = [sys.executable, "-m", "benchmarks.contention"]
    others = [
        subprocess.Popen(
            [*command, verb, str(mark + 1), str(base), *map(str, arguments)], stdout=subprocess.PIPE, text=True
        )
        for mark, verb in enumerate(verbs)
    ]
    while len(list(base.glob("*.ready"))) < len(verbs):
        if any(other.poll() for other in others):
            raise RuntimeError("a process has ended before it began; see its error above")
        time.sleep(0.1)
    (base / "start").touch()
    return others


def _results(others: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    return [json.loads(other.communicate()[0]) for other in others]


def _one(verb: str, mark: int, base: Path, seconds: float, rest: list[str]) -> None:
    if verb in ("save", "read"):
        django.setup()
        one_of_many(verb, mark, base, seconds)
    else:
        bare(verb, mark, base, seconds, **dict(zip(("size", "folds"), map(int, rest), strict=False)))


def main(arguments: list[str]) -> int:
    """Run the measurement or one of its processes. The exit code is 1 if a save is missing or a call failed."""
    if arguments[:1] and not arguments[0].isdigit():
        verb, mark, place, seconds, *rest = arguments
        _one(verb, int(mark), Path(place), float(seconds), rest)
        return 0
    django.setup()
    size, duration, processes = [*map(int, arguments), *(SIZE, SECONDS, PROCESSES)[len(arguments) :]]
    print(f"seed {SEED}; Python {platform.python_version()}, {os.cpu_count()} cores {platform.machine()}")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as work:
        base = Path(work) / "data"
        found = measure(size, duration, processes, base)
    figures.record("contention", size, figures.FILES, found)
    return int(any(one.is_short for one in found if one.bar == NONE))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orbsite.settings")
    sys.exit(main(sys.argv[1:]))
