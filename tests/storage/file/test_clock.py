"""The time of day goes back three years, on by a hundred, anywhere at each call, or stands still: bar R20.

What is saved is ordered by number and not by time, and what is put aside never falls on what was put aside before.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.filesystem.syscalls import FileSystem
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.factories import ReflectionFactory

SEED = int(os.environ.get("ORB_SEED", "11"))
SECOND = 1_000_000_000
YEAR = 365 * 24 * 3600 * SECOND
NOW = time.time_ns()
SAVES = 30


def _jumps() -> Iterator[int]:
    draw = random.Random(SEED)
    for number in itertools.count():
        yield NOW + number + draw.choice([-3 * YEAR, -SECOND, 0, SECOND, 100 * YEAR])


def _changed_by(years: int) -> Iterator[int]:
    return itertools.chain(range(NOW, NOW + 20), itertools.count(NOW + years * YEAR, 1_000_003))


CLOCKS = {
    "three years back": lambda: _changed_by(-3),
    "a hundred years on": lambda: _changed_by(100),
    "jumps": _jumps,
    "stands still": lambda: itertools.repeat(NOW),
}


class Clocked(FileSystem):
    """Tells another time; right before each exchange another program may write the document."""

    def __init__(self, ticks: Iterator[int]) -> None:
        self.ticks, self.outside = ticks, iter(())

    def nanoseconds(self) -> int:
        return next(self.ticks)

    def exchange(self, one: str, other: str, within: int) -> None:
        for data in itertools.islice(self.outside, 1):
            Path(f"/proc/self/fd/{within}/{other}").write_bytes(data)
        super().exchange(one, other, within)


@pytest.fixture(params=CLOCKS)
def fs(request: pytest.FixtureRequest) -> Clocked:
    return Clocked(CLOCKS[request.param]())


def _open(base: Path, fs: FileSystem, above: int | None) -> FileStore:
    return FileStore(TE, Document(base, TE.file, fs=fs), journal_above=above)


def _save_all(base: Path, fs: FileSystem, above: int | None) -> None:
    """Save one record over and over, one by two stores in turn, and look at it from a third."""
    stores, reader = [_open(base, fs, above) for _ in range(2)], _open(base, fs, above)
    for number in range(SAVES):
        stores[number % 2].put([ReflectionFactory(id="same", input=str(number)), ReflectionFactory(id=f"r{number}")])
        (seen,) = reader.fetch(Reflection, [("ana", "same")]).values()
        assert seen.input == str(number)
    kept = {one.id: one.input for one in _open(base, fs, above).find(Reflection)}
    assert kept["same"] == str(SAVES - 1)
    assert set(kept) == {"same", *(f"r{number}" for number in range(SAVES))}


@pytest.mark.parametrize("above", [None, 0], ids=["file", "journal"])
def test_saves_are_ordered_by_number_and_not_by_time(tmp_path: Path, fs: Clocked, above: int | None) -> None:
    _save_all(tmp_path, fs, above)
    if above is not None:
        lines = (tmp_path / "te/reflections.json.journal").read_text().splitlines()
        assert [json.loads(line)["seq"] for line in lines] == list(range(SAVES))
    sys.stdout.write(f"clock: seed {SEED}, {SAVES} saves\n")


@pytest.mark.parametrize("clock", CLOCKS)
def test_the_clock_of_the_whole_process_may_be_wrong(
    tmp_path: Path, clock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = CLOCKS[clock]()
    monkeypatch.setattr(time, "time_ns", lambda: next(ticks))
    monkeypatch.setattr(time, "time", lambda: next(ticks) / SECOND)
    for name, above in (("file", None), ("journal", 0)):
        _save_all(tmp_path / name, FileSystem(), above)


def test_whatever_others_write_under_a_wrong_clock_is_kept(tmp_path: Path, fs: Clocked) -> None:
    store = _open(tmp_path, fs, None)
    store.put([ReflectionFactory()])
    theirs = [f'{{"sessions": {{}}, "theirs": {number}}}'.encode() for number in range(SAVES)]
    fs.outside = iter(theirs)
    for _ in theirs:
        store.put([ReflectionFactory()])
    kept = sorted(path.read_bytes() for path in (tmp_path / "te").glob("reflections.json.conflict-*"))
    assert kept == sorted(theirs)


def test_torn_ends_under_a_wrong_clock_are_all_kept(tmp_path: Path, fs: Clocked) -> None:
    store, journal = _open(tmp_path, fs, 0), tmp_path / "te/reflections.json.journal"
    store.put([ReflectionFactory()])
    torn = []
    for number in range(8):
        store.put([ReflectionFactory(id=f"r{number}")])
        torn.append(f'{{"journal": torn {number}'.encode())
        with journal.open("ab") as file:
            file.write(torn[-1])
    store.put([ReflectionFactory(id="last")])
    kept = sorted(path.read_bytes() for path in (tmp_path / "te").glob("reflections.json.journal.torn-*"))
    assert kept == sorted(torn)
    assert store.count(Reflection) == 10


def test_what_dead_processes_left_under_a_wrong_clock_is_all_kept(tmp_path: Path, fs: Clocked) -> None:
    store = _open(tmp_path, fs, None)
    store.put([ReflectionFactory()])
    for number in range(8):
        for name in (f".reflections.json.1.{number:08x}.tmp", ".reflections.json.1.ffffffff.tmp"):
            (tmp_path / "te" / name).write_text(f"{name} {number}")
        _open(tmp_path, fs, None).put([ReflectionFactory()])
    assert len(list((tmp_path / "te/lost+found").iterdir())) == 16
