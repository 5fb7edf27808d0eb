"""Whatever the moment at which the power goes: what was acknowledged is there, and everything can be read.

ORB_SEED makes it the same again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import sys
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import pytest

from orbsite.storage.errors import OrbError
from orbsite.storage.file.cache import Replica
from orbsite.storage.file.content import Content
from orbsite.storage.file.document import Document
from orbsite.storage.file.journal import Journal
from orbsite.storage.file.store import FileStore
from orbsite.storage.file.writer import NextJournal, Writer
from orbsite.storage.filesystem.atomic_replace import Successor
from orbsite.storage.sealing.envelope import Packing
from orbsite.storage.sealing.keys import Key, KeyRing
from te.domain import DOMAIN
from te.records import Reflection
from tests.storage.file.simfs import ROOT, File, SimFS
from tests.support.effort import effort
from tests.support.factories import moment

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("ORB_SEED", "11"))
STEPS, LEAST_STATES = effort(30, 250), effort(2_000, 25_000)
FOLDS = 6
"""The number of folds among the steps during which others save, on average."""
MOST_STATES = 100
"""At one moment; after a process has died half way, there may be many more."""
MODES = {"file": None, "journal": 0}


PACKINGS = {"": Packing(), "sealed ": Packing(is_compressed=True, keys=KeyRing([Key("k", bytes(32 * [7]))]))}
_stored_as = {"packing": PACKINGS[""]}


def _open(fs: SimFS, above: int | None) -> FileStore:
    document = Document(ROOT / "data", DOMAIN.file, _stored_as["packing"], fs=fs)
    return FileStore(DOMAIN, document, journal_above=above)


def _reflection(name: str, text: str) -> Reflection:
    return Reflection(
        id=name, input=text, output="", tags=(), created_at=moment(0), user_id="ana", session_id=f"s{len(text) % 3}"
    )


class Violation(AssertionError):
    """A crash would have lost something."""


class Dead(BaseException):
    """The process was killed."""


class Witness:
    """Saves, and after every call to the system looks at every state that a crash could leave behind."""

    def __init__(self, fs: SimFS, above: int | None) -> None:
        self.fs, self.above, self.states = fs, above, 0
        self.contents: dict[Hashable, dict[str, str] | None] = {}
        """What was read of each state so far: many crashes leave the same one."""
        self.content: dict[str, str] = {}
        """What a process would read now."""
        self.allowed: list[dict[str, str]] = [{}]
        """What may be there after a crash: what was acknowledged, and what was not yet."""
        self.store = _open(fs, above)
        fs.after_each = self.look

    def save(self, name: str, text: str) -> None:
        self.change(lambda: self.store.put([_reflection(name, text)]), {**self.content, name: text})

    def delete(self, name: str) -> None:
        rest = {key: text for key, text in self.content.items() if key != name}
        self.change(lambda: self.store.delete(Reflection, [("ana", name)]), rest)

    def change(self, act: Callable[[], Any], then: dict[str, str]) -> None:
        self.allowed.append(then)
        act()
        self.content, self.allowed = then, [then]
        self.look()

    def fold_while_others_save(self, names: list[str], *, must_fold: bool = False) -> None:
        """Fold while saves go on: some by this process, some by another one."""
        saves = iter(names)
        other = _open(self.fs, self.above)

        def between(store: FileStore) -> None:
            name = next(saves, None)
            if name is not None:
                then = {**self.content, name: name * 3}
                self.change(lambda: store.put([_reflection(name, name * 3)]), then)

        with _interrupted(lambda: between(self.store), lambda: between(other)):
            is_folded = self.store.fold_concurrently()
        assert is_folded or not must_fold
        self.look()
        for store in (self.store, other):
            if _seen(store) != self.content:
                raise Violation

    def die(self, act: Callable[[], None], calls: int) -> None:
        """Let the process die at its n-th call to the system; what it has done so far is not on the disk by that."""
        left = iter(range(calls))

        def look_and_die() -> None:
            self.look()
            if next(left, None) is None:
                raise Dead

        self.fs.after_each = look_and_die
        with contextlib.suppress(Dead):
            act()
        self.fs.after_each = self.look
        self.reopen()
        self.content = _content(self.fs, self.above) or {}
        if self.content not in self.allowed:
            raise Violation

    def reopen(self) -> None:
        self.store = _open(self.fs, self.above)

    def look(self) -> None:
        for crashed in itertools.islice(self.fs.crashes(), MOST_STATES):
            self.states += 1
            key = crashed.key()
            if key not in self.contents:
                self.contents[key] = _content(crashed, self.above)
            if self.contents[key] not in self.allowed:
                raise Violation

    def go_on_after_some_crash(self, draw: random.Random) -> None:
        """Start again from one of the states, as the next process would, and keep to what is there."""
        self.fs.after_each = lambda: None
        self.fs = draw.choice(list(itertools.islice(self.fs.crashes(), MOST_STATES)))
        self.content = _content(self.fs, self.above) or {}
        self.allowed = [self.content]
        self.fs.after_each = self.look
        self.reopen()


@contextlib.contextmanager
def _interrupted(*acts: Callable[[], None]) -> Iterator[None]:
    """Act at the moments of a fold at which it holds no lock: before the document is printed, and at its end."""
    encode, begin = Content.encode_copy, NextJournal.begin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Content, "encode_copy", lambda *args: (acts[0](), encode(*args))[1])
        patch.setattr(NextJournal, "begin", lambda *args: (begin(*args), acts[1]())[0])
        yield


def _seen(store: FileStore) -> dict[str, str]:
    return {one.id: one.input for one in store.find(Reflection)}


def _content(fs: SimFS, above: int | None) -> dict[str, str] | None:
    try:
        return _seen(_open(fs, above))
    except OrbError:
        return None


def _fold_at_random(witness: Witness, draw: random.Random) -> None:
    others = draw.sample(["k0", "k1", "new"], draw.randrange(3))
    if draw.randrange(2):
        witness.fold_while_others_save(others)
    else:
        witness.die(lambda: witness.fold_while_others_save(others), draw.randrange(30))


def _run(fs: SimFS, above: int | None, steps: int, folds: float = 0.0) -> Witness:
    witness, draw = Witness(fs, above), random.Random(SEED)
    for _ in range(steps):
        name = f"k{draw.randrange(6)}"
        match draw.randrange(12):
            case 0:
                witness.delete(name)
            case 1:
                witness.change(witness.store.fold, witness.content)
            case 2:
                witness.reopen()
            case 3:
                witness.go_on_after_some_crash(draw)
            case 4:
                witness.die(lambda: witness.save(name, name * 9), draw.randrange(12))  # noqa: B023 -- called at once
            case _:
                witness.save(name, name * draw.randrange(1, 9))
        if folds and draw.random() < folds:
            _fold_at_random(witness, draw)
    return witness


@pytest.fixture(autouse=True)
def _simulated_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("pathlib.Path.is_dir", lambda path: path == ROOT)


@pytest.mark.deep
@pytest.mark.parametrize("form", PACKINGS)
@pytest.mark.parametrize("mode", MODES)
def test_no_crash_loses_what_was_acknowledged(mode: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_stored_as, "packing", PACKINGS[form])
    part = 2 if form else 1  # of sealed documents as many states take twice the time
    witness = _run(SimFS(), MODES[mode], steps=STEPS // part, folds=FOLDS / STEPS)
    sys.stdout.write(f"simulated crashes: seed {SEED}, {form}{mode}, {witness.states} states\n")
    assert witness.states > LEAST_STATES // part


class FilesAreNotSynced(SimFS):
    def sync(self, descriptor: int) -> None:
        if not isinstance(self.open_ones[descriptor], File):
            super().sync(descriptor)


class DirectoriesAreNotSynced(SimFS):
    def sync(self, descriptor: int) -> None:
        if isinstance(self.open_ones[descriptor], File):
            super().sync(descriptor)


class NewDirectoriesAreNotSynced(SimFS):
    def sync(self, descriptor: int) -> None:
        node = self.open_ones[descriptor]
        if isinstance(node, File) or any(isinstance(entry, File) for entry in node.entries.values()):
            super().sync(descriptor)


class FilesAreSyncedAfterTheirRename(SimFS):
    late: Callable[[], None] = staticmethod(lambda: None)

    def sync(self, descriptor: int) -> None:
        node = self.open_ones[descriptor]
        if isinstance(node, File):
            self.late = node.sync
        else:
            super().sync(descriptor)
            self.late()


class LinesAreNotSynced(SimFS):
    def sync_data(self, descriptor: int) -> None:
        pass


BROKEN = [FilesAreNotSynced, DirectoriesAreNotSynced, NewDirectoriesAreNotSynced, FilesAreSyncedAfterTheirRename]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_missing_sync_is_found(broken: type[SimFS], mode: str) -> None:
    with pytest.raises(Violation):
        _run(broken(), MODES[mode], steps=6)


def test_a_line_that_is_not_synced_is_found() -> None:
    with pytest.raises(Violation):
        _run(LinesAreNotSynced(), 0, steps=6)


def test_writing_in_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def swap(successor: Any, base: str | None, *_: Any) -> Any:
        directory, name = successor._directory, successor._name
        data = directory.fs.read(successor._descriptor)
        if base is not None:
            directory.fs.unlink(name, directory.descriptor)
        descriptor = directory.fs.create(name, directory.descriptor)
        directory.write_all(descriptor, data)
        directory.fs.sync(descriptor)
        directory.sync()
        return directory.fs.status(descriptor)

    monkeypatch.setattr(Successor, "swap", swap)
    with pytest.raises(Violation):
        _run(SimFS(), None, steps=6)


def test_a_fold_that_is_not_announced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal would be replayed over a document that holds it already, and over what came after it."""
    monkeypatch.setattr(Writer, "_announce", lambda *_: None)
    witness = Witness(SimFS(), 0)
    for name, text in (("a", "1"), ("a", "2"), ("a", "3")):
        witness.save(name, text)
    witness.delete("a")
    witness.store._journal_above = None
    with pytest.raises(Violation):
        witness.save("a", "4")


def _fold_with_saves() -> int:
    """Fold twice, each time while two processes save; return how many states were looked at."""
    witness = Witness(SimFS(), 0)
    for name in "abc":
        witness.save(name, name)
    witness.delete("c")
    for _ in range(effort(1, 2)):
        witness.fold_while_others_save(["a", "d"], must_fold=True)
        witness.save("b", "bb")
        witness.delete("a")
    return witness.states


def _die_while_folding(calls: int) -> int:
    """Let a process die at a call of a fold during which others save, and others go on and fold."""
    witness = Witness(SimFS(), 0)
    for name in "abc":
        witness.save(name, name)
    witness.die(lambda: witness.fold_while_others_save(["b", "e"]), calls)
    witness.save("a", "aa")
    witness.fold_while_others_save(["b"])
    return witness.states


@pytest.mark.deep
@pytest.mark.parametrize("form", PACKINGS)
def test_no_crash_of_a_fold_loses_what_is_saved_meanwhile(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_stored_as, "packing", PACKINGS[form])
    assert _fold_with_saves() > effort(300, 1000)


@pytest.mark.deep
@pytest.mark.parametrize("form", PACKINGS)
def test_a_process_may_die_at_any_call_of_a_fold(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_stored_as, "packing", PACKINGS[form])
    assert sum(map(_die_while_folding, range(0, 45, effort(25 if form else 15, 9 if form else 3)))) > effort(300, 1000)


def _append_unsynced(successor: Successor, data: bytes) -> None:
    successor._directory.write_all(successor._descriptor, data)


_line, _line_of_next = Journal.line, NextJournal._line

FOLD_MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "saves are left out": (NextJournal, "_line", lambda journal, _: _line_of_next(journal, [])),
    "saves are not synced": (Successor, "append", _append_unsynced),
    "all saves are said to be in it": (
        Journal,
        "line",
        lambda journal, envelope, **content: _line(journal, envelope, **{**content, "until": None}),
    ),
}


@pytest.mark.parametrize("mutant", FOLD_MUTANTS)
def test_a_fold_that_loses_what_is_saved_meanwhile_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*FOLD_MUTANTS[mutant])
    with pytest.raises(Violation):
        _fold_with_saves()


def _begin_twice() -> None:
    """Let a process die at every call with which it begins a journal, and another one go on."""
    for calls in range(25):
        witness = Witness(SimFS(), 0)
        witness.save("a", "1")
        witness.die(lambda: witness.save("b", "2"), calls)  # noqa: B023 -- called at once
        witness.save("c", "3")


def test_a_journal_that_is_taken_for_synced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever began it may have died before the disk had its name."""
    _begin_twice()
    monkeypatch.setattr(Replica, "is_confirmed", property(lambda _: True, lambda *_: None), raising=False)
    with pytest.raises(Violation):
        _begin_twice()
