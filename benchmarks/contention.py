"""Measures what several processes wait for while they save to and read from one large file, through several folds.

python -m benchmarks.contention [NUMBER OF REFLECTIONS [SECONDS [PROCESSES]]]

Half of the processes save, the others read. A save is of several kilobytes, so that folds become due soon. Beside them
stands the raw limit: one more process appends as many bytes to a file of its own, without a lock, and syncs it. In the
end a new process reads the file, and counts what was acknowledged and is not there.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import django
import msgspec

from benchmarks.file_store import fresh, open_store, peak
from benchmarks.fold import reader, spread
from benchmarks.reflections import SEED, make

SIZE, SECONDS, PROCESSES = 100_000, 60, 8
_TEXT = "z" * 6000
_PAUSE = 0.002
"""Seconds between two calls of one process."""


def append(mark: int, base: Path, seconds: float) -> None:
    """Append to a file for a time, sync it each time, and print the waits."""
    waits = list[float]()
    with (base / f"{mark}.bytes").open("ab", buffering=0) as file:
        _wait_for_the_others(mark, base)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begin = time.monotonic()
            file.write(_TEXT.encode())
            os.fdatasync(file.fileno())
            waits.append(time.monotonic() - begin)
            time.sleep(_PAUSE)
    sys.stdout.write(json.dumps({"waits": waits, "errors": {}, "saved": 0, "peak": peak()}))


def _wait_for_the_others(mark: int, base: Path) -> None:
    (base / f"{mark}.ready").touch()
    while not (base / "start").exists():
        time.sleep(0.05)


def one_of_many(verb: str, mark: int, base: Path, seconds: float) -> None:
    """Save or read for a time, and print the waits, the errors and the number of acknowledged saves."""
    from orbsite.storage.errors import OrbError

    store = open_store(base)
    read = reader(store)
    waits, errors, saved = list[float](), Counter[str](), 0
    read()
    _wait_for_the_others(mark, base)
    end = time.monotonic() + seconds
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
        waits.append(time.monotonic() - begin)
        time.sleep(_PAUSE)
    sys.stdout.write(json.dumps({"waits": waits, "errors": errors, "saved": saved, "peak": peak()}))


def lost(base: Path, saved: dict[str, int]) -> int:
    """Return how many acknowledged saves are not in the file."""
    from te.records import Reflection

    ids = [f"fresh-{int(mark) * 1_000_000 + number}" for mark, many in saved.items() for number in range(many)]
    there = {one.id for one in open_store(base).find(Reflection, {"user_id": "user-0"})}
    return len(set(ids) - there)


def measure(size: int, seconds: float, processes: int, base: Path) -> bool:
    """Print the waits. Return False if an acknowledged save is missing or a call failed."""
    path = base / "te" / "reflections.json"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(make(size))
    path.chmod(0o600)
    verbs = [*("save" if number % 2 else "read" for number in range(processes)), "append"]
    command = [sys.executable, "-m", "benchmarks.contention"]
    others = [
        subprocess.Popen([*command, verb, str(mark + 1), str(base), str(seconds)], stdout=subprocess.PIPE, text=True)
        for mark, verb in enumerate(verbs)
    ]
    while len(list(base.glob("*.ready"))) < len(verbs):
        time.sleep(0.1)
    (base / "start").touch()
    generations, end = {path.stat().st_ino}, time.monotonic() + seconds
    while time.monotonic() < end:
        generations.add(path.stat().st_ino)
        time.sleep(0.2)
    found: list[dict[str, Any]] = [json.loads(other.communicate()[0]) for other in others]
    saved = {str(mark + 1): one["saved"] for mark, one in enumerate(found) if one["saved"]}
    errors = sum((Counter(one["errors"]) for one in found), Counter[str]())
    gone = lost(base, saved)
    print(
        f"{processes} processes at {size:,} for {seconds:.0f} s: {sum(saved.values()):,} saves, {gone} lost; "
        f"{len(generations) - 1} folds; errors {dict(errors)}; "
        f"the largest process {max(one['peak'] for one in found) >> 20:,} MiB"
    )
    for verb, name_of_it in {"save": "a save", "read": "a read", "append": "the disk alone"}.items():
        waits = [wait for one, name in zip(found, verbs, strict=True) if name == verb for wait in one["waits"]]
        print(f"  {name_of_it}, ms: {spread(waits)}")
    return not gone and not errors


def main(arguments: list[str]) -> int:
    """Run the measurement or one of its processes. The exit code is 1 if a save is missing or a call failed."""
    django.setup()
    if arguments[:1] and arguments[0] in ("save", "read", "append"):
        verb, mark, base, seconds = arguments
        if verb == "append":
            append(int(mark), Path(base), float(seconds))
        else:
            one_of_many(verb, int(mark), Path(base), float(seconds))
        return 0
    size, seconds_, processes = [*map(int, arguments), *(SIZE, SECONDS, PROCESSES)[len(arguments) :]]
    print(f"seed {SEED}; Python {platform.python_version()}, {os.cpu_count()} cores {platform.machine()}")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as work:
        base = Path(work) / "data"
        base.mkdir(mode=0o700)
        return 0 if measure(size, seconds_, processes, base) else 1


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orbsite.settings")
    sys.exit(main(sys.argv[1:]))
