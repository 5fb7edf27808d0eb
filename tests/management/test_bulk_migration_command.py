from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from orbsite.models.bulk_migrations import BulkDirectory, BulkMigration
from orbsite.models.jobs import Job
from te.models import ReflectionRow

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(files: Path, tmp_path: Path) -> Path:
    path = tmp_path / "many"
    path.mkdir()
    for name in ("a", "b"):
        shutil.copytree(files, path / name / ".orb-data")
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    def call(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = 0
        try:
            call_command("migrate_orb_files", *arguments, "--format", "json")
        except SystemExit as end:
            code = int(end.code or 0)
        except CommandError as problem:
            code = problem.returncode
        return code, json.loads(capsys.readouterr().out)

    return call


def test_each_directory_is_migrated_in_this_process_and_again_for_nothing_new(root: Path, run: Any) -> None:
    code, report = run("--each", str(root), "--no-backup")
    number = BulkMigration.objects.get().pk
    states = {"bulk_migration": number, "all": 2, "waiting": 0, "running": 0, "done": 2, "failed": 0}
    assert (code, report["ok"], report["domains"]["directories"]) == (0, True, states)
    assert report["domains"]["te"]["new"] == ReflectionRow.objects.count() > 0
    assert report["domains"]["te"]["unchanged"] == report["domains"]["te"]["new"]
    assert run("--each", str(root), "--no-backup") == (0, report)
    assert run("--bulk", str(number)) == (0, report)


def test_a_dry_run_writes_nothing(root: Path, run: Any) -> None:
    code, report = run("--each", str(root), "--dry-run")
    assert (code, report["domains"]["directories"]) == (0, {"all": 2})
    assert report["domains"]["te"]["new"] > 0
    assert not BulkMigration.objects.exists()
    assert not ReflectionRow.objects.exists()


def test_a_directory_that_fails_makes_exit_code_2_and_is_named(root: Path, run: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("orbsite.operations.bulk_migration.claims.MOST_TRIES", 1)
    (root / "b" / ".orb-data" / "te" / "reflections.json").write_text("{")
    code, report = run("--each", str(root), "--no-backup")
    assert (code, report["domains"]["directories"]["failed"]) == (2, 1)
    assert [Path(one["path"]).parent.name for one in report["findings"] if one["domain"] == "directories"] == ["b"]
    shutil.copy(root / "a" / ".orb-data" / "te" / "reflections.json", root / "b" / ".orb-data" / "te")
    assert run("--each", str(root), "--no-backup")[0] == 2
    assert run("--each", str(root), "--no-backup", "--retry-failed")[0] == 0


def test_the_work_is_given_to_jobs_of_the_queue(root: Path, run: Any) -> None:
    code, report = run("--each", str(root), "--no-backup", "--workers", "3")
    assert (code, report["domains"]["directories"]["waiting"]) == (0, 2)
    assert [job.arguments for job in Job.objects.all()] == [{"bulk": BulkMigration.objects.get().pk}] * 3
    assert set(BulkDirectory.objects.values_list("state", flat=True)) == {"waiting"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--each", "ROOT", "--data-dir", "x", "--resume"], "--each does not take --data-dir, --resume"),
        (["--each", "ROOT", "--bulk", "1"], "--each does not take --bulk"),
        (["--again", "--workers", "2"], "--workers, --again is about many data directories; give --each DIR too"),
        (["--each", "ROOT", "--stale-after", "0"], "--stale-after needs a number of seconds above 0"),
        (["--each", "ROOT", "--stale-after", "inf"], "--stale-after needs a number of seconds above 0"),
        (["--each", "ROOT/missing"], "there is no directory"),
        (["--each", "ROOT", "--no-backup", "--workers", "-1"], "-1 is no number of workers"),
        (["--bulk", "77"], "there is no bulk migration 77"),
        (["--bulk", "77", "--incremental"], "a bulk migration has arguments of its own"),
    ],
)
def test_arguments_that_do_not_fit_end_with_exit_code_2_and_say_why(
    arguments: list[str], message: str, root: Path, run: Any
) -> None:
    code, report = run(*(one.replace("ROOT", str(root)) for one in arguments))
    assert code == 2
    assert message in report["findings"][0]["message"]
    assert not ReflectionRow.objects.exists()
