from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from orbsite.operations.files.check import check, repair
from orbsite.operations.files.compact import compact
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import DocumentError
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from te.domain import DOMAIN
from te.records import Reflection
from tests.support.factories import ReflectionFactory

NAME = "reflections.json"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A document of two generations, and a journal of three lines."""
    open_store(tmp_path / "data", None).put(records("a"))
    open_store(tmp_path / "data", None).put(records("b"))
    store = open_store(tmp_path / "data")
    for name in ("c", "d", "e"):
        store.put(records(name))
    return tmp_path / "data"


def open_store(base: Path, above: int | None = 0) -> FileStore:
    return FileStore(DOMAIN, Document(base, DOMAIN.file), journal_above=above)


def records(*names: str) -> list[Reflection]:
    return [ReflectionFactory(id=name, user_id="ana", session_id="s") for name in names]


def found(base: Path) -> set[str]:
    return {one.id for one in open_store(base).find(Reflection)}


def counts(report: Any) -> dict[str, int]:
    return {what: number for what, number in report.domains["te"].counts["files"].items() if number}


def files(base: Path) -> dict[str, bytes]:
    """Return the content of each file; a lock says since when it was held last, to the second, and counts by its name."""
    paths = [path for path in base.rglob("*") if path.is_file()]
    return {str(one.relative_to(base)): b"" if one.suffix == ".lock" else one.read_bytes() for one in paths}


def truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    with path.open("r+b") as file:
        file.write(data)


def test_what_is_whole_has_no_findings(base: Path) -> None:
    report = check([DOMAIN], base)
    assert (report.exit_code, counts(report), report.domains["te"].findings) == (0, {}, [])
    assert repair([DOMAIN], base, apply=True).exit_code == 0
    with pytest.raises(DocumentError, match="no data directory"):
        check([DOMAIN], base / "nowhere")


def test_a_journal_with_a_torn_end_is_cut_and_its_end_kept(base: Path) -> None:
    journal = base / f"te/{NAME}.journal"
    whole = journal.read_bytes()
    truncate(journal, len(whole) - 9)
    assert counts(check([DOMAIN], base)) == {"left over": 1}
    before = files(base)
    assert "--apply would keep the end aside" in repair([DOMAIN], base, apply=False).domains["te"].findings[0].message
    assert files(base) == before
    assert counts(repair([DOMAIN], base, apply=True)) == {"mended": 1}
    torn = next((base / "te").glob("*.torn-*")).read_bytes()
    assert journal.read_bytes() + torn == whole[:-9]
    assert found(base) == {"a", "b", "c", "d"}


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_journal_with_a_damaged_line_goes_on_with_the_good_ones(base: Path, line: int) -> None:
    journal = base / f"te/{NAME}.journal"
    damaged = journal.read_bytes().splitlines(keepends=True)
    flip(journal, sum(map(len, damaged[:line])) + 30)
    bytes_before = journal.read_bytes()
    assert counts(check([DOMAIN], base)) == {"damaged": 1}
    assert check([DOMAIN], base).exit_code == 1
    with pytest.raises(DocumentError, match="repair_orb_files"):
        found(base)
    report = repair([DOMAIN], base, apply=True)
    assert (report.exit_code, counts(report)) == (0, {"mended": 1})
    assert found(base) == {"a", "b", "c", "d", "e"} - ({"c"} if line == 1 else {"d"} if line == 2 else set())
    assert next((base / "te").glob("*.journal.corrupt-*")).read_bytes() == bytes_before
    before = files(base)
    assert counts(repair([DOMAIN], base, apply=True)) == {}
    assert files(base) == before


def test_a_document_that_cannot_be_read_goes_back_only_when_asked(base: Path) -> None:
    path = base / f"te/{NAME}"
    torn = path.read_bytes()[:-20]
    truncate(path, len(torn))
    assert counts(check([DOMAIN], base)) == {"damaged": 1}
    report = repair([DOMAIN], base, apply=True)
    assert (report.exit_code, counts(report)) == (1, {"damaged": 1})
    assert "--restore-previous would go back" in report.domains["te"].findings[0].message
    assert path.read_bytes() == torn
    report = repair([DOMAIN], base, apply=True, restore=True)
    assert (report.exit_code, counts(report)) == (0, {"mended": 1, "edited": 1})
    assert next((base / "te").glob("*.corrupt-*")).read_bytes() == torn
    assert found(base) == {"a", "c", "d", "e"}  # what is in the journal stays on top


def test_a_document_that_is_gone_goes_back_when_asked(base: Path) -> None:
    (base / f"te/{NAME}").unlink()
    assert counts(check([DOMAIN], base)) == {"damaged": 1}
    repair([DOMAIN], base, apply=True, restore=True)
    assert found(base) == {"a", "c", "d", "e"}


@pytest.mark.parametrize("previous", [None, b"torn"])
def test_without_a_good_generation_nothing_is_touched(base: Path, previous: bytes | None) -> None:
    (base / f"te/{NAME}").write_bytes(b"{")
    (base / f"te/{NAME}.prev").unlink()
    if previous:
        (base / f"te/{NAME}.prev").write_bytes(previous)
    before = files(base)
    report = repair([DOMAIN], base, apply=True, restore=True)
    assert report.exit_code == 1
    assert "put a backup in its place" in report.domains["te"].findings[0].message
    assert files(base) == before


def test_an_edit_by_hand_is_told_until_it_is_saved_over(base: Path) -> None:
    open_store(base).fold()
    path = base / f"te/{NAME}"
    path.write_bytes(path.read_bytes().replace(b'"id": "a"', b'"id": "z"'))
    assert counts(check([DOMAIN], base)) == {"edited": 1}
    assert found(base) == {"z", "b", "c", "d", "e"}
    open_store(base, None).put(records("f"))
    assert counts(check([DOMAIN], base)) == {}


def test_what_the_dead_left_goes_to_lost_and_found(base: Path) -> None:
    orphan = base / f"te/.{NAME}.{2**22 + 1}.abcdef01.tmp"
    orphan.write_bytes(b"left")
    assert counts(check([DOMAIN], base)) == {"left over": 1}
    assert counts(repair([DOMAIN], base, apply=True)) == {"mended": 1}
    assert [path.read_bytes() for path in (base / "te/lost+found").iterdir()] == [b"left"]


def test_files_that_others_can_read_are_made_private(base: Path) -> None:
    (base / f"te/{NAME}").chmod(0o644)
    assert counts(check([DOMAIN], base)) == {"left over": 1}
    assert counts(repair([DOMAIN], base, apply=True)) == {"mended": 1}
    assert (base / f"te/{NAME}").stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_place_of_a_document_is_told(base: Path) -> None:
    path = base / f"te/{NAME}"
    shutil.move(path, base / "elsewhere")
    path.symlink_to(base / "elsewhere")
    report = check([DOMAIN], base)
    assert counts(report) == {"damaged": 1}
    assert "symbolic link" in report.domains["te"].findings[0].message


def test_asides_are_listed_and_harm_nobody(base: Path) -> None:
    (base / f"te/{NAME}.conflict-1").write_bytes(b"{}")
    report = check([DOMAIN], base)
    assert (report.exit_code, counts(report)) == (0, {})
    assert [finding.path for finding in report.domains["te"].findings] == [f"te/{NAME}.conflict-1"]


def test_compacting_folds_the_journal(base: Path) -> None:
    before = sum((base / f"te/{name}").stat().st_size for name in (NAME, f"{NAME}.journal"))
    would = compact([DOMAIN], base, now=utc_now, dry_run=True).domains["te"].facts
    after = compact([DOMAIN], base, now=utc_now).domains["te"].facts["after"]
    assert would == {"dead_parts": 0, "before": before, "after": after}
    assert after == (base / f"te/{NAME}").stat().st_size < before
    assert not (base / f"te/{NAME}.journal").exists()
    assert found(base) == {"a", "b", "c", "d", "e"}


def test_a_repair_that_mends_nothing_is_not_ok(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / f"te/{NAME}").chmod(0o644)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("orbsite.storage.file.repair._narrow", refuse)
    report = repair([DOMAIN], base, apply=True)
    assert (report.ok, report.exit_code) == (False, 2)
    assert counts(report) == {"left over": 1, "not mended": 1}
    assert any("Read-only file system; mount the file" in one.message for one in report.domains["te"].findings)
    monkeypatch.setattr("orbsite.storage.file.repair._narrow", lambda *_: None)  # a file system that keeps no modes
    assert repair([DOMAIN], base, apply=True).exit_code == 1
