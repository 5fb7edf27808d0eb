"""Readers beside writers, and writers beside each other: bars R15 and R14 for files, with their teeth.

What is read is one state, whole, and never one before what the same reader has seen; and nothing that was saved is lost.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orbsite.storage.errors import Conflict, InvalidRecord, OrbError, SaveFailed
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.filesystem.atomic_replace import Successor
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.lock import locked
from orbsite.storage.filesystem.syscalls import FileSystem
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.effort import effort
from tests.support.factories import BEGIN, ReflectionFactory
from tests.support.processes import ended
from tests.support.time_limits import time_limit
from tests.support.worker import count_up, numbers, start, watch

pytestmark = pytest.mark.slow

SECONDS = effort(1, 3)
SAVES = effort(50, 250)
"""Saves of each of eight processes."""
MODES = {"file": None, "journal": 0}
JOURNAL = {"file": "never", "journal": "0"}
PATIENCE = 100


def _open(base: Path, above: int | None = 0, fs: FileSystem | None = None) -> FileStore:
    return FileStore(TE, Document(base, TE.file, fs=fs or FileSystem()), journal_above=above)


def _pair(number: int) -> list[Reflection]:
    """Return two records that are always saved together; what a reader sees of them is the same number."""
    return [ReflectionFactory(id=name, input=str(number), created_at=BEGIN) for name in ("left", "right")]


def _run_all(acts: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=act) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(time_limit(PATIENCE))


def _watched(base: Path, mode: str) -> list[str]:
    """Save while others read, and return what was wrong with what they saw."""
    stop, stores, number = base / "stop", [_open(base, MODES[mode]) for _ in range(2)], 0
    stores[0].put(_pair(0))
    workers = [start("read", base, stop, journal=JOURNAL[mode]) for _ in range(4)]
    results: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: results.append(watch(base, stop.exists, stores[0]))) for _ in range(2)]
    with ended(*workers):
        for thread in threads:
            thread.start()
        try:
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                number += 1
                stores[number % 2].put(_pair(number))
                if number % 7 == 0:
                    stores[number % 2].fold()
        finally:
            stop.touch()
        results += [json.loads(worker.communicate(timeout=time_limit(PATIENCE))[0]) for worker in workers]
        for thread in threads:
            thread.join(time_limit(PATIENCE))
    sys.stdout.write(
        f"readers: {mode}, {number} saves, {sum(one['reads'] for one in results)} reads by {len(results)}\n"
    )
    assert len(results) == 6
    return [wrong for result in results for wrong in result["wrong"]]


@pytest.mark.deep
@pytest.mark.parametrize("mode", MODES)
def test_readers_see_whole_states_that_never_go_back(tmp_path: Path, mode: str) -> None:
    assert _watched(tmp_path, mode) == []


def _swap_in_place(successor: Any, base: str | None) -> os.stat_result:
    path = successor._directory.path / successor._name
    with path.open("wb", buffering=0) as file:
        data = path.with_name(successor._temporary).read_bytes()
        file.write(data[:100])
        time.sleep(0.15)  # longer than a reader waits for an editor
        file.write(data[100:])
    return path.stat()


@pytest.mark.slow
def test_readers_see_what_is_written_in_place_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Successor, "swap", _swap_in_place)
    assert _watched(tmp_path, "file")


def _race(base: Path, mode: str, writers: int, saves: int, mutant: str = "none") -> int:
    """Let processes save, and return how much of it is missing in the end."""
    _open(base, MODES[mode]).put([ReflectionFactory(id="counter", input="0")])
    workers = [start("count", base, f"w{number}", saves, mutant, journal=JOURNAL[mode]) for number in range(writers)]
    with ended(*workers):
        answers = [worker.communicate(timeout=time_limit(PATIENCE)) for worker in workers]
    failed = [problem for worker, (_, problem) in zip(workers, answers, strict=True) if worker.returncode]
    try:
        kept = {one.id: one.input for one in _open(base, MODES[mode]).find(Reflection)}
    except OrbError:
        kept = {}
    expected = {f"w{number}-{save}" for number in range(writers) for save in range(saves // 2)}
    missing = len(expected - set(kept)) + abs(len(expected) - int(kept.get("counter", "0")))
    sys.stdout.write(f"writers: {mode}, {writers} x {saves}, {mutant}, {missing} missing\n")
    return missing + len(failed)


@pytest.mark.deep
@pytest.mark.parametrize("mode", MODES)
def test_what_eight_processes_save_is_all_there(tmp_path: Path, mode: str) -> None:
    assert _race(tmp_path / "data", mode, 8, SAVES) == 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_without_a_lock_saves_are_lost(tmp_path: Path, mode: str) -> None:
    assert any(_race(tmp_path / f"data-{number}", mode, 4, 60, "no-lock") > 0 for number in range(5))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_what_sixteen_threads_save_is_all_there(tmp_path: Path, mode: str) -> None:
    store = _open(tmp_path, MODES[mode])
    store.put([ReflectionFactory(id="counter", input="0")])
    _run_all([lambda name=name: count_up(store, f"t{name}", 100) for name in range(16)])
    kept = {one.id: one.input for one in _open(tmp_path).find(Reflection)}
    assert kept.pop("counter") == "800"
    assert set(kept) == {f"t{name}-{number}" for name in range(16) for number in range(50)}


class Counting(FileSystem):
    syncs = 0

    def sync_data(self, descriptor: int) -> None:
        self.syncs += 1
        super().sync_data(descriptor)


def test_threads_that_save_at_the_same_time_share_lines_and_not_errors(tmp_path: Path) -> None:
    fs, rounds, barrier = Counting(), 10, threading.Barrier(12)
    store, taken = _open(tmp_path, fs=fs), ReflectionFactory(id="taken")
    store.put([taken])
    acts: list[tuple[type[OrbError] | None, Callable[[Reflection], Any]]] = [
        (None, lambda record: store.put([record])),
        (Conflict, lambda record: store.put([taken], expect="another")),
        (InvalidRecord, lambda record: store.put([record, msgspec.structs.replace(record, input="\0")])),
        (None, store.add),
    ]
    wrong = []

    def run(name: int) -> None:
        expected, act = acts[name % 4]
        for number in range(rounds):
            barrier.wait(time_limit(PATIENCE))
            answer = None
            try:
                act(ReflectionFactory(id=f"{name}-{number}"))
            except Exception as problem:  # noqa: BLE001 -- whatever it is, the thread got it
                answer = type(problem)
            wrong.extend([(name, answer)] if answer is not expected else [])

    _run_all([lambda name=name: run(name) for name in range(12)])
    saves = {f"{name}-{number}" for name in range(12) if name % 4 in (0, 3) for number in range(rounds)}
    sys.stdout.write(f"group commit: {len(saves)} saves in {fs.syncs} lines\n")
    assert wrong == []
    assert {one.id for one in _open(tmp_path).find(Reflection)} == saves | {"taken"}
    assert fs.syncs < len(saves)


def test_a_call_that_makes_no_sense_fails_no_other_thread(tmp_path: Path) -> None:
    store, answers = _open(tmp_path), {}
    store.put([ReflectionFactory()])

    def run(thing: Any) -> None:
        try:
            store.put([thing])
        except Exception as problem:  # noqa: BLE001 -- whatever it is, the thread got it
            answers[thing] = type(problem)

    things = [ReflectionFactory(), ReflectionFactory(), "no record", ReflectionFactory()]
    threads = [threading.Thread(target=run, args=(thing,)) for thing in things]
    with Directory.open(tmp_path / "te") as directory, locked(directory, "reflections.json", 1):
        for thread in threads:  # they wait for the lock, and then for each other
            thread.start()
            time.sleep(0.05)
    for thread in threads:
        thread.join(time_limit(PATIENCE))
    assert set(answers) == {"no record"}
    assert store.count(Reflection) == 4


class Between(FileSystem):
    """Does something between a reader's look at the journal and its look at the document."""

    act: Callable[[], None] = staticmethod(lambda: None)

    def open_for_reading(self, name: str, within: int) -> int:
        if name == "reflections.json":
            self.act()
        return super().open_for_reading(name, within)


def test_a_reader_that_every_fold_overtakes_sees_one_state_all_the_same(tmp_path: Path) -> None:
    fs, writer, number = Between(), _open(tmp_path), 0
    writer.put(_pair(0))

    def act() -> None:
        nonlocal number
        number += 1
        writer.put(_pair(number))
        writer.fold()
        writer.put([msgspec.structs.replace(_pair(number)[1], output=f"again {number}")])

    act()
    fs.act = act
    assert len(set(numbers(_open(tmp_path, fs=fs)).values())) == 1


class FailingOnce(FileSystem):
    """Loses the disk for a moment, right after another process has read the line."""

    meanwhile: Callable[[], Any] | None = None

    def sync_data(self, descriptor: int) -> None:
        act, self.meanwhile = self.meanwhile, None
        if act is not None:
            act()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync_data(descriptor)


def test_a_reader_that_saw_a_line_that_was_taken_back_sees_the_one_in_its_place(tmp_path: Path) -> None:
    fs, other, reader = FailingOnce(), _open(tmp_path), _open(tmp_path)
    writer = _open(tmp_path, fs=fs)
    for number in (1, 2):
        writer.put(_pair(number))
    fs.meanwhile = lambda: numbers(reader)
    with pytest.raises(SaveFailed):
        writer.put(_pair(3))
    other.put(_pair(4))
    assert numbers(reader) == {"left": 4, "right": 4}


def test_a_walk_never_shows_what_was_not_saved(tmp_path: Path) -> None:
    fs = FailingOnce()
    store = _open(tmp_path, fs=fs)
    for number in (1, 2):
        store.put(_pair(number))
    walk, fs.meanwhile = store.walk(Reflection, page=1), lambda: None
    seen = [next(walk).input]
    with pytest.raises(SaveFailed):
        store.put(_pair(3))
    assert seen + [one.input for one in walk] == ["2", "2"]
