"""Cuts the power of a real file system: a loop device is shut down while a process saves.

python -m tests.torture.power ext4|xfs DIRECTORY ROUNDS SEED MODE [MUTANT], as root; MODE is file or journal. Prints a JSON object. Only saves that were
acknowledged before the cut began are counted: a few that return while it goes on are lost by the harness's own race.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import django

FS_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2
MOST_KEPT = 200


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
    from te.stores import FileTeReflectionStore
    from tests.kill import BEGIN

    with contextlib.suppress(BaseException):
        log = FileTeReflectionStore(base)
        for number in range(100_000):
            one = f"{name}-{number}"
            log.save_reflection(Reflection(id=one, input="i" * 200, output="o", tags=(), created_at=BEGIN), "ana")
            os.write(acknowledge, f"{one} {time.monotonic_ns()}\n".encode())
    os._exit(0)


def cut(place: Path) -> int:
    descriptor = os.open(place, os.O_RDONLY)
    began = time.monotonic_ns()
    fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
    os.close(descriptor)
    return began


def one_round(base: Path, place: Path, name: str, draw: random.Random) -> set[str]:
    reading, writing = os.pipe()
    pid = writer(base, name, writing)
    os.close(writing)
    time.sleep(draw.uniform(0.03, 0.15))
    began = cut(place)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        lines = [line.split() for line in pipe if line.endswith("\n")]
    return {one for one, moment in lines if int(moment) < began}


def kept(base: Path) -> set[str] | None:
    from tests.kill import kept as read

    try:
        return read(base)
    except OSError:
        return None


def no_file_sync() -> None:
    from orbsite.storage.fsops import FileSystem

    FileSystem.sync = FileSystem.sync_data = lambda *_: None


def no_directory_sync() -> None:
    from orbsite.storage.fsops import FileSystem

    sync = FileSystem.sync
    FileSystem.sync = lambda fs, fd: None if os.path.isdir(f"/proc/self/fd/{fd}") else sync(fs, fd)  # noqa: PTH112


def main() -> None:
    kind, work, rounds, draw = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), random.Random(int(sys.argv[4]))
    {"no-sync": no_file_sync, "no-directory-sync": no_directory_sync}.get("".join(sys.argv[6:]), lambda: None)()
    image, place = work / f"{kind}.img", work / "mnt"
    place.mkdir(parents=True)
    run("truncate", "-s", "320M", image)
    run(f"mkfs.{kind}", "-q", image)
    counts = {"acknowledged": 0, "lost": 0, "unreadable": 0}
    known: set[str] = set()
    for number in range(rounds):
        with mounted(image, place) as base:
            fresh = one_round(base, place, f"r{number}", draw)
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
    print(json.dumps(counts))  # noqa: T201


if __name__ == "__main__":
    os.environ["ORB_JOURNAL"] = {"file": "never", "journal": "0"}[sys.argv[5]]
    django.setup()
    import te.stores  # noqa: F401 -- once, before the forks

    main()
