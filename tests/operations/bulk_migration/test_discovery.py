from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orbsite.models.bulk_migrations import name_of
from orbsite.operations.backup.create import take
from orbsite.operations.bulk_migration.discovery import Found, data_directories, resolved
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError

Plant = Callable[..., Path]


def names(found: Found, root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in found.directories]


def messages(found: Found) -> list[str]:
    return [f"{Path(one.path).name}: {one.message}" for one in found.findings]


def test_data_directories_are_found_at_any_depth_in_the_order_of_their_paths(root: Path, plant: Plant) -> None:
    for name in ("b/.orb-data", "a", "c/deep/er", "a/inner"):
        plant(name)
    (root / "empty" / "te").mkdir(parents=True)
    (root / "other" / "luna").mkdir(parents=True)
    (root / "other" / "luna" / "notes.txt").write_text("no document")
    found = data_directories(root)
    assert names(found, root) == ["a", "a/inner", "b/.orb-data", "c/deep/er"]
    assert (found.findings, found.unreadable) == ([], False)


@pytest.mark.parametrize("left", ["reflections.json.journal", "reflections.json.prev"])
def test_a_directory_whose_document_is_lost_is_found_by_what_is_left_of_it(root: Path, left: str) -> None:
    (root / "a" / "te").mkdir(parents=True)
    (root / "a" / "te" / left).write_text("")
    assert names(data_directories(root), root) == ["a"]


def test_copies_of_the_stores_and_backups_are_left_out(root: Path, plant: Plant, db: None) -> None:
    plant("a")
    plant("a/.orb/copies")
    plant("backups/old")
    made = take([], None, root / "elsewhere", now=utc_now, database=False)
    shutil.copytree(root / "a" / "te", made / "te")
    assert names(data_directories(root, without=[root / "backups"]), root) == ["a"]


def test_links_are_not_followed_and_those_that_lead_outside_are_reported(root: Path, plant: Plant) -> None:
    plant("a")
    outside = plant("../outside")
    (root / "same").symlink_to(root / "a")
    (root / "loop").symlink_to(root)
    (root / "broken").symlink_to(root / "nothing")
    (root / "out").symlink_to(outside)
    found = data_directories(root)
    assert names(found, root) == ["a"]
    assert messages(found) == [
        f"out: is a link to {outside.resolve()}, outside, and is not followed; migrate that with --data-dir"
    ]
    assert not found.unreadable


def test_the_directory_itself_is_left_out_with_a_warning(root: Path, plant: Plant) -> None:
    plant(".")
    plant("a")
    found = data_directories(root)
    assert names(found, root) == ["a"]
    assert messages(found) == ["data: has documents itself, which --each leaves out; migrate them with --data-dir"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can list every directory")
def test_a_directory_that_cannot_be_listed_is_an_error(root: Path, plant: Plant) -> None:
    plant("a").chmod(0o100)
    found = data_directories(root)
    assert (names(found, root), messages(found), found.unreadable) == (
        [],
        ["a: cannot be listed: Permission denied"],
        True,
    )


def test_a_directory_that_vanishes_while_it_is_searched_is_an_error(
    root: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("a")
    real = os.scandir

    def vanishing(path: Path) -> object:
        if path == root / "a":
            monkeypatch.undo()
            shutil.rmtree(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    found = data_directories(root)
    assert (messages(found), found.unreadable) == (["a: cannot be listed: No such file or directory"], True)


def test_a_path_that_is_no_text_is_found_and_has_a_name(root: Path, plant: Plant) -> None:
    plant("a").rename(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    (found,) = data_directories(root).directories
    assert os.fsencode(found).endswith(b"/caf\xe9")
    assert name_of(found).endswith("/caf\\xe9")


def test_a_root_that_is_no_directory_is_refused(root: Path) -> None:
    (root / "file").write_text("")
    for path in (root / "file", root / "missing"):
        with pytest.raises(OrbError, match="there is no directory .*; give --each a directory with data directories"):
            resolved(path)
