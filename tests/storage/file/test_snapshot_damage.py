"""A plain document cut at every offset, and flipped at every byte: nothing of it passes in silence. Bar R12, with its teeth.

What is still JSON may as well be a hand's edit: it is adopted, reported, and kept as the last generation.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.file.store import FileStore
from orbsite.storage.filesystem.directory import OpenFile
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.storage.file.test_journal import MASKS, SEED, Document, Quick
from tests.support.factories import ReflectionFactory

MODES = {"file": None, "journal": 0}


@dataclass
class Scene:
    """A document, and in one mode a journal beside it with one save more."""

    base: Path
    above: int | None
    files: dict[str, bytes]

    @property
    def path(self) -> Path:
        return self.base / "te/reflections.json"

    @property
    def document(self) -> bytes:
        return self.files["reflections.json"]

    def open(self) -> FileStore:
        return FileStore(TE, Document(self.base, TE.file, fs=Quick()), journal_above=self.above)

    def now(self) -> dict[str, bytes]:
        return {one.name: one.read_bytes() for one in self.path.parent.iterdir() if one.suffix != ".lock"}

    def lay(self, document: bytes) -> None:
        """Change the document in place, long ago, so that nobody waits for whoever is writing it."""
        for name in self.now():
            if name not in self.files:
                (self.path.parent / name).unlink()
        for name, data in self.files.items():
            (self.path.parent / name).write_bytes(document if name == self.path.name else data)
        os.utime(self.path, (1, 1))


@pytest.fixture(params=MODES)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    scene = Scene(tmp_path / "data", MODES[request.param], {})
    store, draw = scene.open(), random.Random(SEED)
    records = [
        ReflectionFactory(id=f"r{number}", input=draw.choice(["é", "x", "\\"]), session_id=f"s{number % 2}", tags=())
        for number in range(3)
    ]
    store.put(records[:-1])
    store.put(records[-1:])
    scene.files = {name: data for name, data in scene.now().items() if not name.endswith(".prev")}
    assert ("reflections.json.journal" in scene.files) == (scene.above == 0)
    return scene


def damages(document: bytes) -> Iterator[bytes]:
    yield from (document[:offset] for offset in range(len(document)))
    for offset, byte in enumerate(document):
        yield from (document[:offset] + bytes([byte ^ mask]) + document[offset + 1 :] for mask in MASKS)


def outcome(scene: Scene, damaged: bytes, caplog: pytest.LogCaptureFixture) -> str:
    """Read and save, and return what became of it: refused, reported, or what went wrong."""
    scene.lay(damaged)
    before = scene.now()
    caplog.clear()
    try:
        scene.open().find(Reflection)
    except DocumentCorrupt:
        try:
            scene.open().put([ReflectionFactory(id="new")])
        except DocumentCorrupt:
            return "refused" if scene.now() == before else "refused, and changed"
        return "saved over"
    if "outside_edit" not in caplog.text:
        return "silent"
    scene.open().put([ReflectionFactory(id="new")])
    if damaged not in scene.now().values():
        return "not kept"
    (saved,) = scene.open().fetch(Reflection, [("ana", "new")]).values()
    return "reported" if saved.id == "new" else "not saved"


def run(scene: Scene, caplog: pytest.LogCaptureFixture, step: int = 1) -> Counter[str]:
    tried = list(damages(scene.document))[::step]
    return Counter(outcome(scene, damaged, caplog) for damaged in tried if damaged != scene.document)


@pytest.mark.slow
def test_no_cut_and_no_flip_of_a_document_is_silent(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    found = run(scene, caplog)
    sys.stdout.write(f"snapshot: seed {SEED}, {len(scene.document)} bytes, above {scene.above}: {dict(found)}\n")
    assert found.total() == len(scene.document) * (1 + len(MASKS))
    assert set(found) == {"refused", "reported"}


@pytest.mark.parametrize("scene", ["file"], indirect=True)
def test_a_store_without_stamps_is_silent(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenFile, "_stamp", lambda *_: None)
    assert run(scene, caplog, step=7)["silent"] > 0


def test_what_was_adopted_stays_for_a_generation(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.lay(scene.document.replace(b'"output"', b'"0utput"', 1))
    damaged, store = scene.path.read_bytes(), scene.open()
    store.put([ReflectionFactory(id="new")])
    assert scene.now()["reflections.json.prev"] == damaged
    assert caplog.text.count("outside_edit") == 1
    assert b'"0utput"' in scene.path.read_bytes()
