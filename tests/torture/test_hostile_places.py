"""Places that turn against a running store: bar R19. Whatever happens, errors are typed, and nothing is written elsewhere.

Needs root: it mounts, makes files immutable, and goes on as nobody.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orbsite.storage.errors import OrbError
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.filesystem.syscalls import OS, FileSystem
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.factories import ReflectionFactory
from tests.torture.power import cut, mounted, run

pytestmark = pytest.mark.torture

NOBODY = 65534


@pytest.fixture(params=[None, 0], ids=["file", "journal"])
def above(request: pytest.FixtureRequest) -> int | None:
    return request.param


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can get to."""
    path = Path(tempfile.mkdtemp(prefix="orb-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def _open(base: Path, above: int | None, fs: FileSystem = OS) -> FileStore:
    return FileStore(TE, Document(base, TE.file, fs=fs), journal_above=above)


def _begun(base: Path, above: int | None, fs: FileSystem = OS) -> FileStore:
    store = _open(base, above, fs)
    for name in ("first", "second", "third"):
        store.put([ReflectionFactory(id=name)])
    return store


def _verbs(store: FileStore) -> dict[str, Callable[[], Any]]:
    return {
        "put": lambda: store.put([ReflectionFactory(id="new")]),
        "add": lambda: store.add(ReflectionFactory(id="added")),
        "delete": lambda: store.delete(Reflection, [("ana", "first")]),
        "delete_where": lambda: store.delete_where(Reflection, {"user_id": "ana"}),
        "fold": store.fold,
        "find": lambda: store.find(Reflection),
        "snapshot": store.snapshot,
        "close": store.close,
    }


WRITING = {"put", "add", "delete", "delete_where"}


def _refused(store: FileStore) -> set[str]:
    """Try every verb, and return those that were refused; an error that is not ours fails the test."""
    refused = set()
    for name, act in _verbs(store).items():
        try:
            act()
        except OrbError:
            refused.add(name)
    return refused


def _content(base: Path) -> dict[str, bytes]:
    files = (path for path in sorted(base.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(base)): path.read_bytes() for path in files}


def _refuses_everything(store: FileStore) -> None:
    assert _refused(store) == set(_verbs(store)) - {"close"}  # nothing was opened


def _folds_nothing(store: FileStore) -> None:
    assert _refused(store) == {"fold"}


def _refuses_to_write(store: FileStore, base: Path, above: int | None) -> None:
    """Every verb that writes is refused, by a store that ran before and by a new one; reading goes on."""
    before = _content(base)
    for one in (store, _open(base, above)):
        assert WRITING <= _refused(one) <= WRITING | {"fold", "close"}
        assert one.count(Reflection) == 3
    assert _content(base) == before


def test_a_place_that_was_mounted_read_only(tmp_path: Path, above: int | None) -> None:
    base = tmp_path / "data"
    store = _begun(base, above)
    run("mount", "--bind", base, base)
    try:
        run("mount", "-o", "remount,ro,bind", base)
        _refuses_to_write(store, base, above)
    finally:
        run("umount", base)
    store.put([ReflectionFactory()])


@pytest.mark.parametrize("what", ["data", "data/te", "data/te/reflections.json"])
def test_a_place_that_was_made_immutable(tmp_path: Path, above: int | None, what: str) -> None:
    base = tmp_path / "data"
    store = _begun(base, above)
    if what.endswith("json") and above is not None:
        what += ".journal"
    if what == "data":
        (base / "te").rename(base / "other")  # it would have to be made
    run("chattr", "+i", tmp_path / what)
    try:
        if what == "data":
            assert {"put", "add"} <= _refused(store) & _refused(_open(base, above))
            assert [path.name for path in base.iterdir()] == ["other"]
        elif what == "data/te" and above is not None:  # a line of the journal needs no room in the directory
            assert "fold" in _refused(store)
        else:
            _refuses_to_write(store, base, above)
    finally:
        run("chattr", "-i", tmp_path / what)


def _as_nobody(act: Callable[[], None]) -> str:
    """Do something as a user without rights, and return what went wrong."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        try:
            act()
        except BaseException:  # noqa: BLE001 -- a fork never returns into its parent's code
            os.write(writing, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def _give_away(base: Path, mode: int, owner: int) -> None:
    for path in [base, *base.rglob("*")]:
        os.chown(path, owner, owner)
    for path in (base / "te", base):
        path.chmod(mode)


def test_a_place_of_somebody_else(place: Path, above: int | None) -> None:
    base = place / "data"
    _begun(base, above)
    for mode in (0o500, 0o000):
        _give_away(base, mode, 0)
        before = _content(base)
        assert _as_nobody(lambda: _refuses_everything(_open(base, above))) == ""
        assert _content(base) == before


def test_a_place_that_its_owner_has_made_read_only(place: Path, above: int | None) -> None:
    base = place / "data"
    _begun(base, above)
    _give_away(base, 0o500, NOBODY)
    before = _content(base)
    if above is None:
        assert _as_nobody(lambda: _refuses_to_write(_open(base, above), base, above)) == ""
        assert _content(base) == before
    else:  # a line of the journal needs no room in the directory
        assert _as_nobody(lambda: _folds_nothing(_open(base, above))) == ""
    assert base.stat().st_mode & 0o777 == 0o500


class Hostile(FileSystem):
    """Does something right before one call of many."""

    def __init__(self) -> None:
        self.at, self.calls, self.act = 0, 0, lambda: None

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name in ("at", "calls", "act"):
            return found
        self.calls += 1
        if self.calls == self.at:
            self.act()
        return found


def _swap_for_a_link(path: Path, elsewhere: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(elsewhere)


TURNS = {
    "data deleted": lambda base, elsewhere: shutil.rmtree(base),
    "te deleted": lambda base, elsewhere: shutil.rmtree(base / "te"),
    "data swapped": _swap_for_a_link,
    "te swapped": lambda base, elsewhere: _swap_for_a_link(base / "te", elsewhere),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_place_that_is_deleted_or_swapped_at_any_call(tmp_path: Path, above: int | None, turn: str) -> None:
    tried = refused = 0
    for verb in ("put", "delete", "fold", "find"):
        for at in range(1, 1000):
            around = tmp_path / f"{verb}-{at}"
            elsewhere = around / "elsewhere"
            (elsewhere / "te").mkdir(parents=True, mode=0o700)
            fs = Hostile()
            store = _begun(around / "data", above, fs)
            fs.at, fs.act = fs.calls + at, functools.partial(TURNS[turn], around / "data", elsewhere)
            try:
                _verbs(store)[verb]()
            except OrbError:
                refused += 1
            if fs.calls < fs.at:
                break
            tried += 1
            _refused(store)
            assert _content(elsewhere) == {}
            assert {path.name for path in around.iterdir()} <= {"data", "moved", "elsewhere"}
            shutil.rmtree(around)
    sys.stdout.write(f"hostile: {turn}, above {above}, {tried} times, {refused} refused\n")
    assert refused > 0


def test_a_running_store_does_not_start_over_where_its_place_was_deleted(tmp_path: Path, above: int | None) -> None:
    store = _begun(tmp_path / "data", above)
    shutil.rmtree(tmp_path / "data")
    assert {"put", "find"} <= _refused(store)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_unmounted(tmp_path: Path, above: int | None) -> None:
    run("mount", "-t", "tmpfs", "none", tmp_path)
    store = _begun(tmp_path / "data", above)
    run("umount", tmp_path)
    refused = _refused(store)
    assert list(tmp_path.iterdir()) == []
    assert {"put", "find"} <= refused


def test_a_disk_that_is_gone(tmp_path: Path, above: int | None) -> None:
    image, place = tmp_path / "image", tmp_path / "mnt"
    place.mkdir()
    run("truncate", "-s", "32M", image)
    run("mkfs.ext4", "-q", image)
    with mounted(image, place) as base:
        store = _begun(base, above)
        cut(place)
        assert _refused(store) & _refused(_open(base, above)) >= WRITING
    with mounted(image, place) as base:
        assert _open(base, above).count(Reflection) == 3
    assert list(place.iterdir()) == []
