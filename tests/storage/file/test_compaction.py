"""When a save goes to the journal, when the journal is folded, and what happens where that fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbsite import stores
from orbsite.operations.migration.file_source import read_document
from orbsite.storage.errors import SaveFailed, SaveOutcomeUnknown
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.file.writer import SMALL
from orbsite.storage.filesystem.syscalls import FileSystem
from te.domain import DOMAIN
from te.records import Reflection
from tests.support.factories import ReflectionFactory

NAME = "te/reflections.json"


def open_store(base: Path, above: int | None = 0) -> FileStore:
    return FileStore(DOMAIN, Document(base, DOMAIN.file), journal_above=above)


def reflection(name: str, size: int = 1) -> Reflection:
    return ReflectionFactory(id=name, input="x" * size, user_id="ana", session_id="s")


def journal(base: Path) -> int | None:
    path = base / f"{NAME}.journal"
    return path.stat().st_size if path.exists() else None


def found(base: Path) -> list[str]:
    return sorted(one.id for one in open_store(base).find(Reflection))


def failing(*numbers: int) -> Callable[..., Any]:
    """A call that fails with these errors, one after the other, and then works."""
    left = list(numbers)

    def call(real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            if left:
                raise OSError(number := left.pop(0), os.strerror(number))
            return real(*arguments)

        return wrapped

    return call


def test_small_documents_are_rewritten_and_large_ones_journaled(tmp_path: Path) -> None:
    store = open_store(tmp_path, SMALL)
    store.put([reflection("a")])
    store.put([reflection("b")])
    assert journal(tmp_path) is None
    store.put([reflection("large", SMALL)])
    assert journal(tmp_path) is None
    inode = (tmp_path / NAME).stat().st_ino
    store.put([reflection("c")])
    assert journal(tmp_path) is not None
    assert (tmp_path / NAME).stat().st_ino == inode
    assert found(tmp_path) == ["a", "b", "c", "large"]


def test_without_journals_one_that_is_there_is_folded_by_the_next_save(tmp_path: Path) -> None:
    for name in "ab":
        open_store(tmp_path).put([reflection(name)])
    assert journal(tmp_path)
    open_store(tmp_path, None).put([reflection("c")])
    assert journal(tmp_path) is None
    assert found(tmp_path) == ["a", "b", "c"]


def test_a_journal_of_a_quarter_of_the_document_is_folded(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put([reflection("first")])
    names = [f"r{number}" for number in range(40)]
    sizes = []
    for name in names:
        store.put([reflection(name, 2_000)])
        sizes.append(journal(tmp_path) or 0)
    assert 0 in sizes
    assert max(sizes) <= SMALL // 4 < max(sizes) + 5_000
    assert found(tmp_path) == sorted(["first", *names])


def test_a_line_that_is_longer_than_that_is_no_line_at_all(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put([reflection("a")])
    store.put([reflection("b", SMALL)])
    assert journal(tmp_path) is None
    assert found(tmp_path) == ["a", "b"]


@pytest.mark.parametrize(("size", "is_folded"), [(1_000, False), (SMALL // 16, True)])
def test_closing_folds_from_a_sixteenth_on(tmp_path: Path, size: int, is_folded: bool) -> None:
    store = open_store(tmp_path)
    store.put([reflection("a")])
    store.put([reflection("b", size)])
    store.close()
    assert (journal(tmp_path) is None) == is_folded
    assert found(tmp_path) == ["a", "b"]
    store.put([reflection("c")])  # a closed store opens again
    assert found(tmp_path) == ["a", "b", "c"]


def test_at_the_end_of_the_process_every_store_is_closed(tmp_path: Path, settings: Any) -> None:
    settings.ORB_JOURNAL = "0"
    store = stores.open_file_store(DOMAIN, tmp_path)
    assert stores.open_file_store(DOMAIN, tmp_path) is store
    store.put([reflection("a")])
    store.put([reflection("b", SMALL // 16)])
    stores.close_file_stores()
    assert journal(tmp_path) is None


def test_a_fold_that_fails_loses_nothing_and_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(tmp_path)
    store.put([reflection("first")])
    tries = []

    def fail(*_: Any) -> None:
        tries.append(journal(tmp_path))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    names = [f"r{number}" for number in range(100)]
    with monkeypatch.context() as patch:
        patch.setattr(FileSystem, "exchange", fail)
        for name in names:
            store.put([reflection(name, 2_000)])
    assert 1 < len(tries) < 4
    assert "was not folded, and will be folded later" in caplog.text
    assert found(tmp_path) == sorted(["first", *names])
    assert not list((tmp_path / "te").glob(".*.tmp"))
    store.fold()
    assert journal(tmp_path) is None
    assert found(tmp_path) == sorted(["first", *names])


def test_after_an_append_that_failed_nobody_appends_to_that_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    for name in "ab":
        store.put([reflection(name)])
    before = journal(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing(errno.EIO)(os.fdatasync))
        with pytest.raises(SaveFailed, match="is unchanged"):
            store.put([reflection("c")])
    assert (found(tmp_path), journal(tmp_path)) == (["a", "b"], before)
    appended = []
    monkeypatch.setattr(FileSystem, "open_for_appending", lambda *arguments: appended.append(arguments))
    store.put([reflection("d")])
    assert (found(tmp_path), journal(tmp_path), appended) == (["a", "b", "d"], None, [])


def test_an_append_that_can_not_be_taken_back_leaves_the_outcome_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    for name in "ab":
        store.put([reflection(name)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing(errno.EIO)(os.fdatasync))
        patch.setattr(os, "ftruncate", failing(errno.EIO)(os.ftruncate))
        with pytest.raises(SaveOutcomeUnknown, match="read the document again before you retry"):
            store.put([reflection("c")])
    assert found(tmp_path) in (["a", "b"], ["a", "b", "c"])
    store.put([reflection("c")])
    assert (found(tmp_path), journal(tmp_path)) == (["a", "b", "c"], None)


def test_a_journal_that_begins_where_something_lies_keeps_that(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put([reflection("a")])
    path = tmp_path / f"{NAME}.journal"
    path.write_bytes(b"")
    store.put([reflection("b")])
    path.write_bytes(b"notes of somebody")
    store.put([reflection("c")])
    assert found(tmp_path) == ["a", "c"]
    set_aside = [one.read_bytes() for one in sorted((tmp_path / "te").glob("*.torn-*"))]
    assert set_aside == [b"", b"notes of somebody"]


def test_operations_read_what_is_in_the_journal_too(tmp_path: Path, settings: Any) -> None:
    for name in "ab":
        open_store(tmp_path).put([reflection(name)])
    records = [entry.record for entry in read_document(DOMAIN, tmp_path) if entry.record]
    assert [record.key for record in records] == [("ana", "a"), ("ana", "b")]
    assert open_store(tmp_path).size() == (tmp_path / NAME).stat().st_size + (journal(tmp_path) or 0)


def test_folding_nothing_creates_nothing(tmp_path: Path) -> None:
    assert open_store(tmp_path / "none").fold() is False
    assert list(tmp_path.iterdir()) == []
    open_store(tmp_path / "data").put([reflection("a")])
    assert open_store(tmp_path / "data").fold() is False


def test_one_process_sees_what_another_saved_folded_and_began_anew(tmp_path: Path) -> None:
    one, other = open_store(tmp_path), open_store(tmp_path)
    names: list[str] = []
    for number in range(12):
        name = f"r{number:02}"
        (one, other)[number % 2].put([reflection(name)])
        names.append(name)
        if number % 5 == 4:
            (other, one)[number % 2].fold()
        assert sorted(record.id for record in one.find(Reflection)) == names
        assert sorted(record.id for record in other.find(Reflection)) == names


def test_a_fold_that_writes_the_bytes_of_before_loses_nothing_for_a_reader_in_between(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A saved and removed record leaves the document as it was, so the fold writes the bytes of its base again."""
    reader = open_store(tmp_path)

    class ReadingBeforeRemoval(FileSystem):
        def unlink(self, name: str, within: int) -> None:
            if name.endswith(".journal"):
                assert [one.id for one in reader.find(Reflection)] == ["a"]
            super().unlink(name, within)

    writer = FileStore(DOMAIN, Document(tmp_path, DOMAIN.file, fs=ReadingBeforeRemoval()), journal_above=0)
    writer.put([reflection("a")])
    writer.put([reflection("b")])
    writer.delete(Reflection, [reflection("b").key])
    writer.fold()
    assert journal(tmp_path) is None
    assert [one.id for one in reader.find(Reflection)] == ["a"]
    assert not caplog.records
    assert open_store(tmp_path).find(Reflection)
