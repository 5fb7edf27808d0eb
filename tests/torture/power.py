"""Cuts the power of a real file system: a loop device is shut down while a process saves.

python -m tests.torture.power ext4|xfs DIRECTORY ROUNDS SEED MODE [MUTANT], as root; MODE is file, journal or sqlite. Prints a JSON object. Only saves
that were acknowledged before the cut began are counted: a few that return while it goes on are lost by the harness's own race. With a mutant
it stops at the first loss.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import select
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django

from tests.support.time_limits import time_limit

FS_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2
FRESH = 20
MOST_KEPT = 200
DATABASE = "db.sqlite3"
LONGEST_PAUSE = 0.005
"""Seconds between saves in SQLite: what a commit leaves to do is done by the next one."""


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


@contextlib.contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    run("mount", "-o", "loop", image, place)
    try:
        yield place / "data"
    finally:
        run("umount", place)


def writer(base: Path, name: str, acknowledge: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    from te.records import Reflection
    from tests.support.kill import BEGIN

    with contextlib.suppress(BaseException):
        log, draw = opened(base), random.Random(name)
        for number in range(100_000):
            one = f"{name}-{number}"
            log.save_reflection(Reflection(id=one, input="i" * 200, output="o", tags=(), created_at=BEGIN), "ana")
            os.write(acknowledge, f"{one} {time.monotonic_ns()}\n".encode())
            if (base / DATABASE).exists():
                time.sleep(draw.uniform(0, LONGEST_PAUSE))
    os._exit(0)


def opened(base: Path) -> Any:
    from te.stores import FileTeReflectionStore, SqlTeReflectionStore

    return SqlTeReflectionStore() if (base / DATABASE).exists() else FileTeReflectionStore(base)


def cut(place: Path) -> int:
    descriptor = os.open(place, os.O_RDONLY)
    began = time.monotonic_ns()
    fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
    os.close(descriptor)
    return began


def one_round(base: Path, place: Path, number: int, draw: random.Random) -> set[str]:
    reading, writing = os.pipe()
    pid = writer(base, f"r{number}", writing)
    os.close(writing)
    if number % FRESH:  # in the other rounds, the first save may be the one that is cut short
        select.select([reading], [], [], time_limit(20))
    time.sleep(draw.uniform(0.03, 0.15))
    began = cut(place)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        lines = [line.split() for line in pipe if line.endswith("\n")]
    return {one for one, moment in lines if int(moment) < began}


def kept(base: Path) -> set[str] | None:
    from tests.support.kill import kept as read

    try:
        return kept_in_sqlite(base / DATABASE) if (base / DATABASE).exists() else read(base)
    except (OSError, sqlite3.Error):
        return None


def kept_in_sqlite(path: Path) -> set[str] | None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            return None
        return {name for (name,) in connection.execute("SELECT id FROM te_reflections")}


def no_file_sync() -> None:
    from orbsite.storage.filesystem.syscalls import FileSystem

    FileSystem.sync = FileSystem.sync_data = lambda *_: None


def no_directory_sync() -> None:
    from orbsite.storage.filesystem.syscalls import FileSystem

    sync = FileSystem.sync
    FileSystem.sync = lambda fs, fd: None if os.path.isdir(f"/proc/self/fd/{fd}") else sync(fs, fd)  # noqa: PTH112


def djangos_own_options() -> None:
    from django.db import connections

    connections.databases["default"]["OPTIONS"] = {}


MUTANTS = {
    "no-sync": no_file_sync,
    "no-directory-sync": no_directory_sync,
    "djangos-own-options": djangos_own_options,
}


def tables(work: Path) -> Path:
    """Return a database without rows, on a file system whose power stays on."""
    from django.core.management import call_command
    from django.db import connections

    path, settings = work / DATABASE, connections.databases["default"]
    place, settings["NAME"] = settings["NAME"], str(path)
    call_command("migrate", verbosity=0)
    connections["default"].close()
    settings["NAME"] = place
    return path


def main() -> None:
    kind, work, rounds, draw = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), random.Random(int(sys.argv[4]))
    template = tables(work) if sys.argv[5] == "sqlite" else None
    mutant = "".join(sys.argv[6:])
    MUTANTS.get(mutant, lambda: None)()
    image, place = work / f"{kind}.img", work / "mnt"
    place.mkdir(parents=True)
    run("truncate", "-s", "320M", image)
    run(f"mkfs.{kind}", "-q", image)
    counts = {"acknowledged": 0, "lost": 0, "unreadable": 0}
    known: set[str] = set()
    for number in range(rounds):
        with mounted(image, place) as base:
            if template is not None and not base.exists():
                base.mkdir()
                shutil.copy(template, base)
                os.sync()
            fresh = one_round(base, place, number, draw)
        counts["acknowledged"] += len(fresh)
        known |= fresh
        with mounted(image, place) as base:
            found = kept(base)
            counts["unreadable"] += found is None
            counts["lost"] += len(known - (found or set()))
            known &= found or set()
            if found is None or len(found) > MOST_KEPT:
                shutil.rmtree(base)
                known = set()
        if mutant and counts["lost"] + counts["unreadable"]:
            break
    print(json.dumps(counts))  # noqa: T201


if __name__ == "__main__":
    if sys.argv[5] == "sqlite":
        os.environ |= {"DJANGO_SETTINGS_MODULE": "orbsite.settings", "DEBUG": "true"}
        os.environ["DATABASE_URL"] = f"sqlite:///{sys.argv[2]}/mnt/data/{DATABASE}"
    os.environ["ORB_JOURNAL"] = "never" if sys.argv[5] == "file" else "0"
    django.setup()
    import te.stores  # noqa: F401 -- once, before the forks

    main()
