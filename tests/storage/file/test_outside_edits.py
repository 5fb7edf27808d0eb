"""Other programs write the document as they like: bars R16 and R17, with their teeth.

Whatever they write is adopted or kept, reported, and seen at once. ORB_SEED and ORB_SECONDS make it the same, or longer.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbsite.storage.errors import DocumentCorrupt, OrbError
from orbsite.storage.file import cache
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.filesystem import atomic_replace
from orbsite.storage.filesystem.syscalls import OS, FileSystem
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.effort import effort
from tests.support.factories import ReflectionFactory
from tests.support.processes import ended
from tests.support.time_limits import time_limit
from tests.support.worker import MARK, Outsider, start, theirs

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("ORB_SEED", "11"))
SECONDS = effort(2, 5)
MODES = {"file": None, "journal": 0}
NAME = "reflections.json"


@pytest.fixture(params=MODES)
def above(request: pytest.FixtureRequest) -> int | None:
    return MODES[request.param]


def _open(base: Path, above: int | None, fs: FileSystem = OS) -> FileStore:
    return FileStore(TE, Document(base, TE.file, fs=fs), journal_above=above)


def _begun(base: Path, above: int | None, fs: FileSystem = OS) -> FileStore:
    """Return a store with a record in the document, and one more that was saved after that."""
    store = _open(base, above, fs)
    store.put([ReflectionFactory(id="first")])
    store.put([ReflectionFactory(id="ours", input="ours")])
    return store


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def _destroyed(base: Path, above: int | None, style: str) -> tuple[list[str], list[str]]:
    """Save beside a rogue; return the versions that are nowhere, and the conflict files that are nobody's version."""
    store, stop, saves, problems = _begun(base, above), base / "stop", 0, 0
    process = start("rogue", base, stop, style, SEED)
    with ended(process):
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                store.put([ReflectionFactory(id=f"ours-{saves % 50}")])
            except OrbError:
                problems += 1
            saves += 1
        stop.touch()
        answer = json.loads(process.communicate(timeout=time_limit(60))[0])
    store.put([ReflectionFactory(id="the last")])
    store.fold()
    files = _files(base / "te")
    seen = {*answer["replaced"], *(mark.decode() for data in files.values() for mark in MARK.findall(data))}
    destroyed = [mark for mark in answer["written"] if mark not in seen]
    kept = [hashlib.sha256(data).hexdigest() for name, data in files.items() if ".conflict-" in name]
    odd = sorted(set(kept) - set(answer["written"].values()))
    sys.stdout.write(
        f"rogue: seed {SEED}, {style}, above {above}, {saves} saves, {problems} failed, {len(answer['written'])} outside "
        f"versions, {len(kept)} in conflict, {len(destroyed)} destroyed\n"
    )
    return destroyed, odd


@pytest.mark.deep
@pytest.mark.parametrize("style", ["replace", "in place"])
def test_no_version_of_another_program_is_destroyed_unseen(tmp_path: Path, above: int | None, style: str) -> None:
    destroyed, odd = _destroyed(tmp_path, above, style)
    assert odd == []
    # Who opens the file and writes it in place two saves later writes to what nobody will look at again.
    assert len(destroyed) <= (0 if style == "replace" else 3)


@pytest.mark.slow
def test_a_plain_rename_destroys_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swap(successor: Any, base: str | None) -> os.stat_result:
        directory = successor._directory
        directory.fs.rename(successor._temporary, successor._name, directory.descriptor)
        successor.swapped = True
        directory.sync()
        return directory.fs.status(successor._descriptor)

    monkeypatch.setattr(atomic_replace.Successor, "swap", swap)
    assert _destroyed(tmp_path, None, "replace")[0]


class Editor(FileSystem):
    """Opened the document before it was swapped out, and writes it right after."""

    data: bytes | None = None

    def rename(self, old: str, new: str, within: int) -> None:
        super().rename(old, new, within)
        if new.endswith(".prev") and self.data is not None:
            Path(f"/proc/self/fd/{within}/{new}").write_bytes(self.data)
            self.data = None


def test_what_an_editor_that_is_late_writes_is_kept(tmp_path: Path) -> None:
    fs = Editor()
    store = _begun(tmp_path, None, fs)
    fs.data = data = theirs("late")
    for _ in range(3):
        store.put([ReflectionFactory()])
    assert data in _files(tmp_path / "te").values()


class SlowDisk(FileSystem):
    """Takes long to sync a directory; meanwhile another program writes."""

    act: Callable[[], object] | None = None

    def sync(self, descriptor: int) -> None:
        act, self.act = self.act if stat.S_ISDIR(os.fstat(descriptor).st_mode) else None, self.act
        if act is not None:
            self.act = None
            act()
            time.sleep(0.15)
        super().sync(descriptor)


def test_an_edit_while_a_save_waits_for_the_disk_is_seen(tmp_path: Path) -> None:
    fs = SlowDisk()
    store = _begun(tmp_path, None, fs)
    fs.act = lambda: (tmp_path / "te" / NAME).write_bytes(theirs("theirs"))
    store.put([ReflectionFactory()])
    assert [one.id for one in store.find(Reflection)] == ["theirs"]


def test_edits_that_hide_are_seen_on_the_next_read(
    tmp_path: Path, above: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same size, within a tick of the clock, and with the time of the last change set back."""
    monkeypatch.setattr(cache, "_PAUSES", (0, 0, 0))
    store, path, unseen = _begun(tmp_path, above), tmp_path / "te" / NAME, []
    with Outsider(path.parent) as outsider:
        path.write_bytes(theirs("theirs", "000000"))
        before = path.stat()
        for number in range(1000):
            store.find(Reflection)
            change = outsider.exchange if number % 3 == 0 else outsider.write_over
            change(theirs("theirs", f"{number:06}"))
            if number % 4:
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            seen = store.fetch(Reflection, [("eve", "theirs")])
            unseen += [] if seen["eve", "theirs"].input == f"{number:06}" else [number]
    sys.stdout.write(f"hidden edits: above {above}, {1000 - len(unseen)} of 1000 seen\n")
    assert unseen == []
    assert store.fetch(Reflection, [("ana", "ours")]).keys() == ({("ana", "ours")} if above == 0 else set())


class OneTick(FileSystem):
    """A disk on which all changes happen in one tick of the clock, and so have one time."""

    MOMENT = 1_700_000_000_000_000_007

    def nanoseconds(self) -> int:
        return self.MOMENT

    def status(self, descriptor: int) -> os.stat_result:
        return self._in_this_tick(super().status(descriptor))

    def status_of(self, name: str, within: int) -> os.stat_result:
        return self._in_this_tick(super().status_of(name, within))

    def _in_this_tick(self, status: os.stat_result) -> os.stat_result:
        return os.stat_result(status[:10], {"st_mtime_ns": self.MOMENT, "st_ctime_ns": self.MOMENT})


def test_an_edit_that_leaves_the_status_as_it_was_is_seen_within_the_tick(tmp_path: Path, above: int | None) -> None:
    store, path = _open(tmp_path, above, OneTick()), tmp_path / "te" / NAME
    store.put([ReflectionFactory(id="one", input="before")])
    path.write_bytes(path.read_bytes().replace(b'"before"', b'"after!"'))
    assert [one.input for one in store.find(Reflection)] == ["after!"]


def test_a_store_that_trusts_a_fresh_status_misses_edits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(status: os.stat_result, taken: int) -> Any:
        return cache.StatSignature((status.st_size, status.st_mtime_ns), 0, 1 << 62)

    monkeypatch.setattr(cache.StatSignature, "of", trusting)
    with pytest.raises(AssertionError):
        test_edits_that_hide_are_seen_on_the_next_read(tmp_path, None, monkeypatch)


def test_an_edit_is_adopted_and_reported_once(
    tmp_path: Path, above: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    store, path = _begun(tmp_path, above), tmp_path / "te" / NAME
    path.write_bytes(edited := theirs("theirs"))
    expected = {"theirs", "ours"} if above == 0 else {"theirs"}  # what stands in the journal comes on top
    for _ in range(3):
        assert {one.id for one in store.find(Reflection)} == expected
    assert caplog.text.count("outside_edit") == 1
    assert str(path) in caplog.text
    store.put([ReflectionFactory(id="next")])
    assert {one.id for one in _open(tmp_path, above).find(Reflection)} == {*expected, "next"}
    assert path.with_name(f"{NAME}.prev").read_bytes() == edited
    assert caplog.text.count("outside_edit") == 1


def test_an_invalid_edit_is_refused_until_it_is_mended(tmp_path: Path, above: int | None) -> None:
    store, path = _begun(tmp_path, above), tmp_path / "te" / NAME
    good = path.read_bytes()
    expected = [one.id for one in store.find(Reflection)]
    for bad in (good[:-2], b"", b"[]", good.replace(b"{", b"(", 1), b"\xff" + good):
        path.write_bytes(bad)
        before = _files(path.parent)
        for one in (store, _open(tmp_path, above)):
            for call in (lambda one=one: one.find(Reflection), lambda one=one: one.put([ReflectionFactory()])):
                with pytest.raises(DocumentCorrupt, match="validate_orb_files"):
                    call()
        assert _files(path.parent) == before
        path.write_bytes(good)
        assert [one.id for one in store.find(Reflection)] == expected
    store.put([ReflectionFactory(id="next")])


@pytest.mark.parametrize("verb", ["find", "put"])
def test_an_editor_in_the_middle_of_writing_is_waited_for(tmp_path: Path, above: int | None, verb: str) -> None:
    store, path, data, torn = _begun(tmp_path, above), tmp_path / "te" / NAME, theirs("theirs"), threading.Event()

    def edit() -> None:
        with path.open("wb", buffering=0) as file:
            file.write(data[:100])
            torn.set()
            time.sleep(0.05)
            file.write(data[100:])

    editor = threading.Thread(target=edit)
    editor.start()
    torn.wait(time_limit(10))
    if verb == "put":
        store.put([ReflectionFactory(id="next")])
    assert "theirs" in {one.id for one in store.find(Reflection)}
    editor.join(time_limit(10))
