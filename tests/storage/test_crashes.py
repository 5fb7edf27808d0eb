"""Whatever the moment at which the power goes: what was acknowledged is there, and the file is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import pytest

from orbsite.storage import document, replace
from orbsite.storage.document import Document
from orbsite.storage.errors import OrbError
from tests.storage.simfs import ROOT, File, SimFS

FILE = PurePosixPath("te/reflections.json")


class Witness:
    """Saves under a counter, and looks at every state that a crash could leave behind."""

    def __init__(self, fs: SimFS) -> None:
        self.fs, self.states, self.violations = fs, 0, 0
        self.acknowledged: set[str] = set()
        self.pending: str | None = None
        fs.after_each = self.look

    def save(self, key: str) -> None:
        self.pending = key
        with Document(ROOT / "data", FILE, fs=self.fs).editing() as edit:
            edit.replace(json.dumps({**json.loads(edit.data or b"{}"), key: key * 3}).encode())
        self.acknowledged.add(key)
        self.pending = None
        self.look()

    def look(self) -> None:
        for crashed in self.fs.crashes():
            self.states += 1
            self.violations += not self._is_right(crashed)

    def _is_right(self, crashed: SimFS) -> bool:
        try:
            content = json.loads(Document(ROOT / "data", FILE, fs=crashed).read() or b"{}")
        except (OrbError, ValueError):
            return False
        unacknowledged = set(content) - self.acknowledged
        return self.acknowledged <= set(content) and unacknowledged <= {self.pending} and _whole(content)


def _whole(content: dict[str, str]) -> bool:
    return all(value == key * 3 for key, value in content.items())


def _run(fs: SimFS, saves: int) -> Witness:
    witness = Witness(fs)
    for number in range(saves):
        witness.save(f"k{number}")
    return witness


@pytest.fixture(autouse=True)
def _simulated_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("pathlib.Path.is_dir", lambda path: path == ROOT)


def test_no_crash_loses_what_was_acknowledged() -> None:
    witness = _run(SimFS(), saves=200)
    assert (witness.violations, len(witness.acknowledged)) == (0, 200)
    assert witness.states > 10_000


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


@pytest.mark.parametrize(
    "broken",
    [FilesAreNotSynced, DirectoriesAreNotSynced, NewDirectoriesAreNotSynced, FilesAreSyncedAfterTheirRename],
    ids=lambda broken: broken.__name__,
)
def test_a_missing_sync_is_found(broken: type[SimFS]) -> None:
    assert _run(broken(), saves=3).violations > 0


def test_writing_in_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_place(directory: Any, name: str, data: bytes, base: bytes | None) -> None:
        if base is not None:
            directory.fs.unlink(name, directory.descriptor)
        replace._write(directory, name, data)
        directory.sync()

    monkeypatch.setattr(document, "replace", in_place)
    assert _run(SimFS(), saves=4).violations > 0
