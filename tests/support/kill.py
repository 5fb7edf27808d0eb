"""Forks writers and kills them with -9 at random moments: python -m tests.support.kill DIRECTORY ROUNDS SEED MODE [MUTANT].

MODE is file, where every save rewrites the document, or journal.

Prints, as JSON, how many saves were acknowledged, how many of those are lost, and how often the file was unreadable.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

import django

from tests.support.time_limits import time_limit

WRITERS = 3
FRESH = 20
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def write_for_ever(base: Path, name: str, acknowledge: int) -> None:
    from te.records import Reflection
    from te.stores import FileTeReflectionStore

    log = FileTeReflectionStore(base)
    for number in itertools.count():
        one = f"{name}-{number}"
        log.save_reflection(Reflection(id=one, input="i" * 200, output="o", tags=(), created_at=BEGIN), "ana", "shared")
        os.write(acknowledge, f"{one}\n".encode())


def start(base: Path, name: str, acknowledge: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        write_for_ever(base, name, acknowledge)
    except BaseException:  # noqa: BLE001 -- a fork never returns into its parent's code
        traceback.print_exc()
    os._exit(1)


def one_round(base: Path, number: int, draw: random.Random) -> set[str]:
    reading, writing = os.pipe()
    writers = [start(base, f"{number}-{one}", writing) for one in range(WRITERS)]
    os.close(writing)
    delay = draw.uniform(0.005, 0.08)
    if number % FRESH:  # in a fresh file, the first save may be the one that is cut short
        select.select([reading], [], [], time_limit(20))
    time.sleep(delay)
    for pid in writers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        return {line.rstrip() for line in pipe if line.endswith("\n")}


def kept(base: Path) -> set[str] | None:
    from orbsite.storage.errors import OrbError
    from orbsite.stores import file_store
    from te.domain import DOMAIN
    from te.records import Reflection

    try:
        return {one.id for one in file_store(DOMAIN, base).find(Reflection)}
    except OrbError:
        return None


def no_lock() -> None:
    from orbsite.storage.filesystem.syscalls import FileSystem

    FileSystem.lock = lambda *_: None


def in_place() -> None:
    from orbsite.storage.filesystem.atomic_replace import Successor

    def write_over(self: Successor, base: str | None) -> os.stat_result:
        path, data = self._directory.path / self._name, self._directory.read(self._temporary) or b""
        with path.open("wb", buffering=0) as file:
            for begin in range(0, len(data), 512):
                file.write(data[begin : begin + 512])
                time.sleep(0.0005)
        return path.stat()

    Successor.swap = write_over


def main() -> None:
    base, rounds, draw = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    os.environ["ORB_JOURNAL"] = {"file": "never", "journal": "0"}[sys.argv[4]]
    django.setup()
    import te.stores  # noqa: F401 -- once, before the forks

    {"no-lock": no_lock, "in-place": in_place}.get("".join(sys.argv[5:]), lambda: None)()
    acknowledged: set[str] = set()
    lost: set[str] = set()
    unreadable = 0
    for number in range(rounds):
        fresh = base / str(number // FRESH)  # a file of its own every twenty rounds, or saving would slow down
        if number % FRESH == 0:
            acknowledged_here: set[str] = set()
        acknowledged_here |= one_round(fresh, number, draw)
        found = kept(fresh)
        unreadable += found is None
        lost |= acknowledged_here - (found or set())
        acknowledged |= acknowledged_here
    print(json.dumps({"acknowledged": len(acknowledged), "lost": len(lost), "unreadable": unreadable}))  # noqa: T201


if __name__ == "__main__":
    main()
