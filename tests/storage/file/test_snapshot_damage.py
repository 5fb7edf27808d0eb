"""A document cut at every offset, and flipped at every byte: nothing of it passes in silence. Bar R12, with its teeth.

What is still JSON in a plain document may as well be a hand's edit: it is adopted, reported, and kept as the last
generation. A compressed or sealed document is refused, and its bytes stay.
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

from orbsite.storage.errors import DocumentCorrupt, KeyUnavailable, NotSealed
from orbsite.storage.file.store import FileStore
from orbsite.storage.filesystem.directory import OpenFile
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.contract.harness import PACKINGS
from tests.storage.file.test_journal import MASKS, SEED, Document, Quick
from tests.support.effort import effort
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.slow

STEP = effort(4, 1)
"""Every so many of the cuts and flips are tried."""

MODES = {"file": (None, ""), "journal": (0, ""), "compressed": (None, "compressed "), "sealed": (0, "sealed ")}


UNREADABLE = (DocumentCorrupt, KeyUnavailable, NotSealed)
"""What a sealed document raises: a flip in the id of its key looks like another key, one in its first bytes like none."""


@dataclass
class Scenario:
    """A document, and in one mode a journal beside it with one save more."""

    base: Path
    above: int | None
    form: str
    files: dict[str, bytes]

    @property
    def path(self) -> Path:
        return self.base / "te/reflections.json"

    @property
    def document(self) -> bytes:
        return self.files["reflections.json"]

    def open(self) -> FileStore:
        return FileStore(TE, Document(self.base, TE.file, PACKINGS[self.form], fs=Quick()), journal_above=self.above)

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
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Scenario:
    dataset = Scenario(tmp_path / "data", *MODES[request.param], {})
    store, draw = dataset.open(), random.Random(SEED)
    records = [
        ReflectionFactory(id=f"r{number}", input=draw.choice(["é", "x", "\\"]), session_id=f"s{number % 2}", tags=())
        for number in range(3)
    ]
    store.put(records[:-1])
    store.put(records[-1:])
    dataset.files = {name: data for name, data in dataset.now().items() if not name.endswith(".prev")}
    assert ("reflections.json.journal" in dataset.files) == (dataset.above == 0)
    return dataset


def damages(document: bytes) -> Iterator[bytes]:
    yield from (document[:offset] for offset in range(len(document)))
    for offset, byte in enumerate(document):
        yield from (document[:offset] + bytes([byte ^ mask]) + document[offset + 1 :] for mask in MASKS)


def outcome(dataset: Scenario, damaged: bytes, caplog: pytest.LogCaptureFixture) -> str:
    """Read and save, and return what became of it: refused, reported, or what went wrong."""
    dataset.lay(damaged)
    before = dataset.now()
    caplog.clear()
    try:
        dataset.open().find(Reflection)
    except UNREADABLE:
        try:
            dataset.open().put([ReflectionFactory(id="new")])
        except UNREADABLE:
            return "refused" if dataset.now() == before else "refused, and changed"
        return "saved over"
    if "outside_edit" not in caplog.text:
        return "silent"
    dataset.open().put([ReflectionFactory(id="new")])
    if damaged not in dataset.now().values():
        return "not kept"
    (saved,) = dataset.open().fetch(Reflection, [("ana", "new")]).values()
    return "reported" if saved.id == "new" else "not saved"


def run(dataset: Scenario, caplog: pytest.LogCaptureFixture, step: int = 1) -> Counter[str]:
    tried = list(damages(dataset.document))[::step]
    return Counter(outcome(dataset, damaged, caplog) for damaged in tried if damaged != dataset.document)


@pytest.mark.deep
def test_no_cut_and_no_flip_of_a_document_is_silent(dataset: Scenario, caplog: pytest.LogCaptureFixture) -> None:
    found = run(dataset, caplog, STEP)
    sys.stdout.write(f"snapshot: seed {SEED}, {len(dataset.document)} bytes, above {dataset.above}: {dict(found)}\n")
    assert found.total() == -(-len(dataset.document) * (1 + len(MASKS)) // STEP)
    assert set(found) == ({"refused"} if dataset.form else {"refused", "reported"})


@pytest.mark.parametrize("dataset", ["file"], indirect=True)
def test_a_store_without_stamps_is_silent(
    dataset: Scenario, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenFile, "_stamp", lambda *_: None)
    assert run(dataset, caplog, step=7)["silent"] > 0


@pytest.mark.parametrize("dataset", ["file", "journal"], indirect=True)
def test_what_was_adopted_stays_for_a_generation(dataset: Scenario, caplog: pytest.LogCaptureFixture) -> None:
    dataset.lay(dataset.document.replace(b'"output"', b'"0utput"', 1))
    damaged, store = dataset.path.read_bytes(), dataset.open()
    store.put([ReflectionFactory(id="new")])
    assert dataset.now()["reflections.json.prev"] == damaged
    assert caplog.text.count("outside_edit") == 1
    assert b'"0utput"' in dataset.path.read_bytes()
