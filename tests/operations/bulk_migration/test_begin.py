from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbsite.models.bulk_migrations import BulkDirectory, BulkMigration
from orbsite.models.ledger import Run
from orbsite.operations.backup.manifest import MANIFEST
from orbsite.operations.bulk_migration.begin import Options, begin, find
from orbsite.operations.bulk_migration.preview import look, look_at
from orbsite.operations.bulk_migration.status import status
from orbsite.operations.bulk_migration.work import work
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from te.models import ReflectionRow

pytestmark = pytest.mark.django_db
Plant = Callable[..., Path]


def begun(root: Path, options: Options = Options(), **how: Any) -> BulkMigration:  # noqa: B008 -- it is frozen
    return begin(root, options, now=utc_now, **how)[0]


def worked(bulk: BulkMigration) -> int:
    return work(bulk, now=utc_now, waits=True).exit_code


def names(bulk: BulkMigration) -> list[str]:
    return [Path(row.name).name for row in BulkDirectory.objects.filter(bulk=bulk)]


def test_a_second_call_continues_and_adds_the_directories_that_are_new(root: Path, plant: Plant) -> None:
    plant("b")
    bulk = begun(root)
    assert worked(bulk) == 0
    plant("a")
    assert begun(root) == bulk
    assert names(bulk) == ["b", "a"]
    assert worked(bulk) == 0
    assert Run.objects.count() == 2


def test_the_directory_is_the_same_under_any_name(root: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant("a")
    link = root.parent / "link"
    link.symlink_to(root)
    monkeypatch.chdir(root.parent)
    assert begun(root) == begun(link) == begun(Path("data")) == begun(root / ".." / "data")
    assert BulkDirectory.objects.count() == 1


def test_nothing_is_begun_where_there_is_no_data_directory(root: Path) -> None:
    with pytest.raises(OrbError, match=r"there is no data directory under .*: none has .*Nothing was written"):
        begun(root)
    assert not BulkMigration.objects.exists()


def test_other_options_are_refused_until_it_begins_again(root: Path, plant: Plant) -> None:
    plant("a")
    bulk = begun(root, Options(only=("te",)))
    with pytest.raises(OrbError, match=r"has other options: --only te\. Use the same ones, or"):
        begun(root, Options(incremental=True))
    with pytest.raises(OrbError, match="is not finished: 1 directories are left"):
        begun(root, Options(incremental=True), again=True)
    assert worked(bulk) == 0
    bulk = begun(root, Options(incremental=True), again=True)
    assert status(bulk).domains["directories"].facts["waiting"] == 1
    assert list(status(bulk).domains) == ["directories"]
    assert worked(bulk) == 0
    assert Run.objects.count() == 2
    assert status(bulk).domains["luna"].total("read") > 0


def test_the_database_is_backed_up_once_for_all_directories(root: Path, plant: Plant, tmp_path: Path) -> None:
    plant("a")
    plant("b")
    bulk = begun(root, backup_to=tmp_path / "backups")
    begun(root, backup_to=tmp_path / "backups")
    assert worked(bulk) == 0
    (made,) = (tmp_path / "backups").iterdir()
    assert bulk.backup == str(made)
    assert (made / MANIFEST).exists()
    assert status(bulk).domains["directories"].details == {"backup": str(made)}
    begun(root, backup_to=tmp_path / "backups", again=True)
    assert len(list((tmp_path / "backups").iterdir())) == 2


def test_a_dry_run_tells_what_each_directory_would_bring_and_writes_nothing(root: Path, plant: Plant) -> None:
    plant("a")
    plant("b", te="{")
    bulk = begun(root)
    for report in (look([root / "a", root / "b"], Options(), now=utc_now), look_at(bulk, now=utc_now)):
        assert report.exit_code == 2
        (finding,) = report.domains["directories"].findings
        assert (Path(finding.path).name, finding.message[:22]) == ("b", "would not be migrated:")
        assert report.domains["te"].total("new") > 0
        assert report.samples[0]["path"].startswith(f"{root}/a ")
    assert (ReflectionRow.objects.count(), Run.objects.count()) == (0, 0)
    assert {row.state for row in BulkDirectory.objects.all()} == {"waiting"}


@pytest.mark.parametrize("number", [0, 7, 2**63, -1])
def test_an_unknown_number_is_refused(number: int) -> None:
    with pytest.raises(OrbError, match=f"there is no bulk migration {number}; begin one with"):
        find(number)
