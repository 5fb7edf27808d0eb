from __future__ import annotations

import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from luna.domain import DOMAIN as LUNA
from orbsite.persistence import cleanup_orphaned_files, compact_luna_profiles, get_storage_stats
from orbsite.storage.clock import utc_now
from te.domain import DOMAIN as TE
from tests.management.test_commands import migrate, run
from tests.operations.files.test_compact import LUNA_DEAD, TE_DEAD, write

OLD = "1700000000000000000"


@pytest.fixture
def files(files: Path, settings: Any, tmp_path: Path) -> Path:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = "file", files
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    return files


@pytest.fixture
def orphan(files: Path) -> Path:
    path = files / f"te/reflections.json.conflict-{OLD}"
    path.write_bytes(b"{}")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    (files / "notes.txt").write_bytes(b"mine")
    return path


def test_clean_up_does_nothing_without_apply(orphan: Path) -> None:
    code, report = run("cleanup_orb_files")
    assert (code, report["domains"]["te"]["left_over"], report["domains"]["te"]["bytes"]) == (0, 1, 2)
    assert {one["path"] for one in report["findings"]} == {f"te/{orphan.name}", "notes.txt"}
    assert orphan.exists()
    code, report = run("cleanup_orb_files", "--apply", "--grace-days", "100000")
    assert (code, "removed" in report, orphan.exists()) == (0, False, True)
    code, report = run("cleanup_orb_files", "--apply", "--data-dir", orphan.parents[1])
    assert (code, report["removed"]) == (0, [str(orphan)])
    assert not orphan.exists()


def test_an_unknown_file_has_to_be_named(orphan: Path) -> None:
    unknown_file = orphan.parents[1] / "notes.txt"
    for name in ("te/reflections.json", "../x", "nothing"):
        code, report = run("cleanup_orb_files", "--apply", "--remove", "notes.txt", "--remove", name)
        assert (code, unknown_file.exists(), orphan.exists()) == (2, True, True)
        assert "nothing was done" in report["findings"][0]["message"]
    assert run("cleanup_orb_files", "--apply", "--remove", "notes.txt")[0] == 0
    assert not unknown_file.exists()


def test_days_that_are_none_and_a_directory_that_is_missing_are_errors(files: Path, tmp_path: Path) -> None:
    assert run("cleanup_orb_files", "--grace-days", "-1")[0] == 2
    assert run("cleanup_orb_files", "--data-dir", tmp_path / "nowhere")[0] == 2


@pytest.mark.parametrize("value", ["soon", "-1", "1.5"])
def test_a_number_of_days_that_is_none_is_an_error(files: Path, settings: Any, value: str) -> None:
    settings.ORB_KEEP_BACKUPS_DAYS = value
    code, report = run("cleanup_orb_files")
    assert code == 2
    assert "set it to a number of days" in report["findings"][0]["message"]


def test_the_guides_clean_up_returns_what_it_removed(orphan: Path, settings: Any, tmp_path: Path) -> None:
    assert cleanup_orphaned_files() == [orphan]
    assert cleanup_orphaned_files() == []
    assert (orphan.parents[1] / "notes.txt").exists()
    settings.ORB_DATA_DIR = tmp_path / "nowhere"
    assert cleanup_orphaned_files() == []


def test_the_guides_compaction_removes_invalid_profiles_however_many(files: Path) -> None:
    before = len(write(files, LUNA, LUNA_DEAD | {f"user-{n}": {"profiles": {"x": {}}} for n in range(20)}))
    stats = compact_luna_profiles()
    after = (files / LUNA.file).stat().st_size
    assert (stats.removed, stats.before_size, stats.after_size, stats.errors) == (23, before, after, [])
    assert compact_luna_profiles().removed == 0


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["memory", "sql"])
def test_the_guides_compaction_finds_nothing_where_nothing_can_be_invalid(
    files: Path, settings: Any, mode: str
) -> None:
    settings.ORB_PERSISTENCE = mode
    stats = compact_luna_profiles()
    assert (stats.removed, stats.before_size) == (0, stats.after_size)


def test_the_guides_compaction_of_no_files_removes_nothing(files: Path, settings: Any, tmp_path: Path) -> None:
    settings.ORB_DATA_DIR = tmp_path / "nowhere"
    assert compact_luna_profiles().before_size == 0
    assert not (tmp_path / "nowhere").exists()


def test_the_real_profiles_all_stay(files: Path) -> None:
    before = (files / LUNA.file).read_bytes()
    assert compact_luna_profiles().removed == 0
    assert (files / LUNA.file).read_bytes() == before


def test_compaction_tells_where_what_went_is_kept(files: Path) -> None:
    write(files, TE, TE_DEAD)
    code, report = run("compact_orb_files", "--only", "te", "--dry-run")
    assert (code, report["domains"]["te"]["removed"], report.get("tombstones")) == (0, 3, None)
    code, report = run("compact_orb_files", "--only", "te")
    (name,) = report["tombstones"]
    assert (files / f".orb/tombstones/{name}.jsonl").exists()
    assert (code, report["domains"]["te"]["removed"]) == (0, 3)


def test_too_much_is_refused_by_the_command(files: Path) -> None:
    write(files, TE, {"sessions": {"s": [{}]}, "userSessions": {}})
    code, report = run("compact_orb_files", "--only", "te")
    assert code == 2
    assert "--force" in report["findings"][0]["message"]
    assert run("compact_orb_files", "--only", "te", "--force")[1]["domains"]["te"]["removed"] == 1


@pytest.mark.django_db
def test_statistics_tell_the_same_of_files_and_of_sql(files: Path, settings: Any) -> None:
    migrate(files, "--no-backup")
    told = {}
    for mode in ("file", "sql"):
        settings.ORB_PERSISTENCE = mode
        code, report = run("orb_stats")
        assert code == 0
        told[mode] = report["domains"]
    for name in ("luna", "te"):
        for domains in told.values():
            assert domains[name].pop("size") > 0
            assert domains[name]["last_migration"][:10] == utc_now().date().isoformat()
        assert told["file"][name] == told["sql"][name]
    te = told["sql"]["te"]
    assert (te["reflections"], te["sessions"], sum(te["largest_sessions"].values()) <= 142) == (142, 29, True)
    assert te["oldest"] < te["newest"]


@pytest.mark.django_db
def test_statistics_for_people_quote_what_others_wrote(files: Path) -> None:
    item = {"id": "a", "input": "", "output": "", "tags": ["ok", "\x1b[31mred\n"], "createdAt": "2024-01-01T00:00:00Z"}
    write(files, TE, {"sessions": {"s": [item]}, "userSessions": {"ana": ["s"]}})
    out = StringIO()
    call_command("orb_stats", "--only", "te", "--no-color", stdout=out)
    lines = out.getvalue().splitlines()
    assert "te oldest: 2024-01-01T00:00:00.000Z" in lines
    assert "te by tag: \\u001b[31mred\\n 1, ok 1" in lines
    assert "te last compaction: never" in lines


def test_the_guides_statistics_have_its_names_and_ours(files: Path) -> None:
    stats = get_storage_stats()
    assert (stats.luna.users, stats.luna.profiles, stats.te.sessions, stats.te.reflections) == (15, 72, 29, 142)
    assert stats.te.size == (files / TE.file).stat().st_size
    assert (stats.te.invalid, stats.te.last_compaction, sum(stats.luna.by_mode.values())) == (0, None, 72)
    json.dumps(vars(stats.te))
