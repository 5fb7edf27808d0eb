"""Another process for tests: python -m tests.support.worker save|hold|hold-in-a-fork|count|read|rogue DIRECTORY [ARGUMENT...]."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
from msgspec.structs import replace

from tests.support.processes import ended
from tests.support.time_limits import time_limit

if TYPE_CHECKING:
    from orbsite.storage.file.store import FileStore

MARK = re.compile(rb"theirs-[0-9]+")


def start(*arguments: object, journal: str = "never") -> subprocess.Popen[str]:
    """Start another process that does what a verb says."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "ORB_JOURNAL": journal}
    command = [sys.executable, "-m", "tests.support.worker", *map(str, arguments)]
    pipe, root = subprocess.PIPE, Path(__file__).parents[2]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=root, env=environment)


@contextlib.contextmanager
def holding(base: Path, verb: str = "hold", *name: str) -> Iterator[tuple[int, str]]:
    """Have a process that holds a lock; return its id and what it said."""
    process = start(verb, base, *name)
    with ended(process):
        yield process.pid, process.stdout.readline().strip() if process.stdout else ""


@contextlib.contextmanager
def forked(act: Callable[[], None]) -> Iterator[int]:
    """Have a child that was forked, and kill it in the end."""
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            act()
            os._exit(0)
        os._exit(1)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def save(base: Path, names: list[str]) -> None:
    from orbsite.storage.clock import utc_now
    from te.records import Reflection
    from te.stores import FileTeReflectionStore

    log = FileTeReflectionStore(base)
    for name in names:
        log.save_reflection(Reflection(id=name, input="i", output="o", tags=(), created_at=utc_now()), "ana", "shared")


def hold(base: Path, names: list[str]) -> None:
    from orbsite.storage.filesystem.directory import Directory
    from orbsite.storage.filesystem.lock import locked

    with Directory.open(base) as directory, locked(directory, *names or ["x"], time_limit(5)):
        say("held")
        time.sleep(time_limit(60))


def hold_in_a_fork(base: Path, names: list[str]) -> None:
    """Hold a lock, and have a child that was forked meanwhile."""
    from orbsite.storage.filesystem.directory import Directory
    from orbsite.storage.filesystem.lock import locked

    with Directory.open(base) as directory, locked(directory, *names or ["x"], time_limit(5)):
        child = os.fork()
        if child:
            say(str(child))
        time.sleep(time_limit(60))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def count(base: Path, arguments: list[str]) -> None:
    """Save so many new records, in turn with raising a counter that others raise too."""
    name, number, mutant = arguments
    if mutant == "no-lock":
        from orbsite.storage.filesystem.syscalls import FileSystem

        FileSystem.lock = lambda *_: None
    say(str(count_up(opened(base), name, int(number))))


def count_up(store: FileStore, name: str, saves: int) -> int:
    """Save, and return how often others were faster."""
    from orbsite.storage.errors import Conflict
    from orbsite.storage.records.digest import digest
    from te.records import Reflection
    from tests.support.factories import ReflectionFactory

    conflicts = 0
    for number in range(saves // 2):
        store.put([ReflectionFactory(id=f"{name}-{number}")])
        while True:
            (old,) = store.fetch(Reflection, [("ana", "counter")]).values()
            try:
                store.put([replace(old, input=str(int(old.input) + 1))], expect=digest(old))
            except Conflict:
                conflicts += 1
            else:
                break
    return conflicts


def read(base: Path, arguments: list[str]) -> None:
    """Read until a file says stop; print how often, and what was wrong."""
    say(json.dumps(watch(base, Path(arguments[0]).exists)))


def watch(base: Path, is_over: Callable[[], bool], warm: FileStore | None = None) -> dict[str, Any]:
    """Read over and over, of our own now and then as a new process would; return how often, and what was wrong."""
    from orbsite.storage.errors import OrbError

    store, last, reads, wrong = warm or opened(base), -1, 0, []
    while not is_over():
        reads += 1
        try:
            seen = numbers(opened(base) if warm is None and reads % 8 == 0 else store)
        except OrbError as problem:
            wrong.append(repr(problem))
            continue
        if seen["left"] != seen["right"]:
            wrong.append(f"torn: {seen}")
        if seen["left"] < last:
            wrong.append(f"went back from {last}: {seen}")
        last = seen["left"]
    return {"reads": reads, "last": last, "wrong": wrong[:20]}


def numbers(store: FileStore) -> dict[str, int]:
    """Return what stands in two records that are always saved together."""
    from te.records import Reflection

    return {one.id: int(one.input) for one in store.find(Reflection) if one.id in ("left", "right")}


def rogue(base: Path, arguments: list[str]) -> None:
    """Write the document over and over, as no program of ours would; print what was written, and what it replaced."""
    stop, style, seed = arguments
    say("begins")
    say(json.dumps(overwrite(base / "te", style, int(seed), Path(stop).exists)))


def theirs(mark: str, text: str = "") -> bytes:
    item = {"id": mark, "input": text, "output": "", "tags": [], "createdAt": "2024-01-01T00:00:00.000Z"}
    return json.dumps({"sessions": {"their session": [item]}, "userSessions": {"eve": ["their session"]}}).encode()


def overwrite(folder: Path, style: str, seed: int, is_over: Callable[[], bool]) -> dict[str, Any]:
    """Write versions, each with its mark, and note the marks of whatever is replaced by our own hand.

    What is written into a file that has lost its last name meanwhile, nobody could ever see: that is no version.
    """
    draw, written, replaced = random.Random(seed), {}, set()
    with Outsider(folder) as held:
        for number in itertools.count():
            if is_over():
                break
            data = theirs(mark := f"theirs-{number}", "x" * draw.randrange(3000))
            old, names = held.exchange(data) if style == "replace" else held.write_over(data, pause=0.001)
            replaced |= {found.decode() for found in MARK.findall(old)}
            written |= {mark: hashlib.sha256(data).hexdigest()} if names else {}
            time.sleep(draw.uniform(0, 0.008))
    return {"written": written, "replaced": sorted(replaced)}


class Outsider:
    """Another program that writes the document; tells what it replaced, and how many names that has."""

    def __init__(self, path: Path) -> None:
        self.path = path / "reflections.json"
        self.descriptor = os.open(path, os.O_RDONLY)

    def __enter__(self) -> Outsider:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def exchange(self, data: bytes) -> tuple[bytes, int]:
        from orbsite.storage.filesystem.syscalls import OS

        other = self.path.with_name("theirs")
        other.write_bytes(data)
        OS.exchange(other.name, self.path.name, self.descriptor)
        old = other.read_bytes()
        other.unlink()
        return old, 1

    def write_over(self, data: bytes, pause: float = 0) -> tuple[bytes, int]:
        with self.path.open("r+b", buffering=0) as file:
            old = file.read()
            time.sleep(pause)
            file.seek(0)
            file.write(data)
            file.truncate()
            return old, os.fstat(file.fileno()).st_nlink


def opened(base: Path) -> FileStore:
    from orbsite.stores import file_store
    from te.domain import DOMAIN

    return file_store(DOMAIN, base)


if __name__ == "__main__":
    django.setup()
    verbs = {"save": save, "hold": hold, "hold-in-a-fork": hold_in_a_fork, "count": count, "read": read, "rogue": rogue}
    verbs[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:])
