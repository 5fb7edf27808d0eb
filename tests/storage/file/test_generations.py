"""An older sealed document in the place of the current one is refused, until somebody takes it in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orbsite.storage.errors import NotSealed
from orbsite.storage.file.checker import IssueKind, examine
from orbsite.storage.file.document import Document
from orbsite.storage.file.repacking import repack
from orbsite.storage.file.repair import mend
from orbsite.storage.file.store import FileStore
from orbsite.storage.sealing.envelope import Packing, generation_of
from orbsite.storage.sealing.keys import Key, KeyRing
from te.domain import DOMAIN
from te.records import Reflection
from tests.support.factories import ReflectionFactory

KEYS = KeyRing([Key("a", bytes(range(32))), Key("b", bytes(range(32, 64)))])


def store(base: Path, packing: Packing | None = None, above: int | None = None) -> FileStore:
    return FileStore(DOMAIN, Document(base, DOMAIN.file, packing or Packing(keys=KEYS)), journal_above=above)


def names(one: FileStore) -> set[str]:
    return {record.id for record in one.find(Reflection)}


@pytest.fixture
def replayed(data_dir: Path) -> Path:
    """The document of the first save in the place of that of the second."""
    store(data_dir).put([ReflectionFactory(id="one")])
    path = data_dir / DOMAIN.file
    shutil.copy(path, data_dir / "old")
    store(data_dir).put([ReflectionFactory(id="two")])
    shutil.copy(data_dir / "old", path)
    return data_dir


@pytest.mark.parametrize("above", [None, 0], ids=["file", "journal"])
def test_an_older_document_is_neither_read_nor_overwritten(replayed: Path, above: int | None) -> None:
    path = replayed / DOMAIN.file
    before = path.read_bytes()
    for act in (
        lambda one: one.find(Reflection),
        lambda one: one.put([ReflectionFactory(id="three")]),
        lambda one: one.snapshot(),
    ):
        with pytest.raises(NotSealed, match="generation 1, and generation 2 was written"):
            act(store(replayed, above=above))
    assert path.read_bytes() == before


def test_a_process_that_read_the_newer_one_refuses_the_older_one_too(data_dir: Path) -> None:
    one = store(data_dir)
    one.put([ReflectionFactory(id="one")])
    shutil.copy(data_dir / DOMAIN.file, data_dir / "old")
    one.put([ReflectionFactory(id="two")])
    assert names(one) == {"one", "two"}
    shutil.copy(data_dir / "old", data_dir / DOMAIN.file)
    with pytest.raises(NotSealed):
        one.find(Reflection)


def test_it_is_taken_in_as_the_next_generation(replayed: Path) -> None:
    document = Document(replayed, DOMAIN.file, Packing(keys=KEYS, allows_plain=True))
    assert [name for name, problem in repack(document) if problem is None] == [DOMAIN.file.name]
    assert generation_of((replayed / DOMAIN.file).read_bytes()) == 3
    assert names(store(replayed)) == {"one"}


def test_a_rotation_does_not_take_it_in(replayed: Path) -> None:
    document = Document(replayed, DOMAIN.file, Packing(keys=KEYS))
    before = (replayed / DOMAIN.file).read_bytes()
    with pytest.raises(NotSealed, match="generation 1"):
        list(repack(document))
    assert (replayed / DOMAIN.file).read_bytes() == before


def test_the_previous_generation_is_restored_as_the_next_one(data_dir: Path) -> None:
    for name in ("one", "two"):
        store(data_dir).put([ReflectionFactory(id=name)])
    path = data_dir / DOMAIN.file
    path.write_bytes(path.read_bytes()[:50])
    document = Document(data_dir, DOMAIN.file, Packing(keys=KEYS))
    mend(DOMAIN, document, list(examine(DOMAIN, document)), restore=True)
    assert generation_of(path.read_bytes()) == 3
    assert names(store(data_dir)) == {"one"}
    assert [one for one in examine(DOMAIN, document) if one.trouble is not IssueKind.ASIDE] == []


def test_generations_grow_with_every_document_and_without_their_file_too(data_dir: Path) -> None:
    path = data_dir / DOMAIN.file
    for number in range(1, 5):
        store(data_dir).put([ReflectionFactory(id=str(number))])
        assert generation_of(path.read_bytes()) == number
    mark = data_dir / ".orb/generations/te-reflections"
    assert (mark.read_text(), mark.stat().st_mode & 0o777) == ("4", 0o600)
    mark.write_bytes(b"\0\0")
    assert names(store(data_dir)) == {"1", "2", "3", "4"}
    store(data_dir).put([ReflectionFactory(id="5")])
    assert generation_of(path.read_bytes()) == 5


def test_what_is_not_sealed_has_no_generation(data_dir: Path) -> None:
    for packing in (Packing(), Packing(is_compressed=True)):
        store(data_dir, packing).put([ReflectionFactory(id="one")])
        assert generation_of((data_dir / DOMAIN.file).read_bytes()) == 0
    assert not (data_dir / ".orb").exists()
