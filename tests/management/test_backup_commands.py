"""Back up and restore, as an operator does."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from orbsite.storage.records.domain import registered
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import file_store
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.management.test_commands import run

ROOT = Path(__file__).parents[2]
TE_FILE, LUNA_FILE = "te/reflections.json", "luna/profiles.json"


@pytest.mark.django_db(transaction=True)
def test_a_backup_is_taken_checked_and_restored(files: Path, tmp_path: Path, settings: Any) -> None:
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    for domain in registered(["luna", "te"]):
        store = file_store(domain, files)
        SqlStore(domain).put([record for kind in domain.kinds for record in store.walk(kind)])
    records = list(SqlStore(TE).walk(Reflection))
    code, report = run("create_orb_backup", "--data-dir", files, "--label", "by hand")
    path = Path(report["backup"])
    assert (code, path.parent) == (0, tmp_path / "backups")
    assert report["domains"]["te"] == {"bytes": (files / TE_FILE).stat().st_size}
    assert report["domains"]["database"]["rows"] > 200
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM te_reflections")
    (files / TE_FILE).write_text("{}")
    code, report = run("restore_orb_backup", path, "--data-dir", files)
    assert (code, report["domains"]["te"]["differ"], report["domains"]["luna"]["equal"]) == (0, 1, 1)
    assert "0 rows now, 142 rows in the backup" in {one["message"] for one in report["findings"]}
    assert (SqlStore(TE).count(Reflection), (files / TE_FILE).read_text()) == (0, "{}")
    code, report = run("restore_orb_backup", path, "--data-dir", files, "--apply")
    assert (code, report["domains"]["te"]["restored"], report["domains"]["luna"]["restored"]) == (0, 1, 0)
    assert list(SqlStore(TE).walk(Reflection)) == records
    assert Path(report["backup"]).parent == tmp_path / "backups"
    assert (files / f"{TE_FILE}.prev").read_text() == "{}"
    code, report = run("verify_orb_files", "--data-dir", files)
    assert (code, sum(report["domains"][name]["equal"] for name in ("te", "luna"))) == (0, 229)


@pytest.mark.django_db(transaction=True)
def test_parts_are_left_out_where_asked(files: Path, tmp_path: Path, settings: Any) -> None:
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    code, report = run(
        "create_orb_backup", "--data-dir", files, "--no-database", "--only", "te", "--to", tmp_path / "to"
    )
    path = Path(report["backup"])
    assert (code, sorted(one.name for one in path.iterdir())) == (0, ["SHA256SUMS", "manifest.json", "te.json"])
    code, report = run("restore_orb_backup", path, "--data-dir", files, "--no-files")
    assert (code, "holds nothing of the selected data" in report["findings"][0]["message"]) == (2, True)
    (files / TE_FILE).unlink()
    code, report = run("restore_orb_backup", path, "--data-dir", files, "--apply", "--no-backup")
    assert (code, "backup" in report, report["domains"]["te"]["restored"]) == (0, False, 1)
    assert not settings.ORB_BACKUP_DIR.exists()
    code, report = run("create_orb_backup", "--no-files")
    assert (code, list(report["domains"])) == (0, ["database"])
    code, report = run("create_orb_backup", "--data-dir", tmp_path / "no")
    assert (code, "--no-files" in report["findings"][0]["message"]) == (2, True)


@pytest.mark.django_db(transaction=True)
def test_a_damaged_backup_is_exit_code_2(files: Path, tmp_path: Path) -> None:
    _, report = run("create_orb_backup", "--data-dir", files, "--to", tmp_path / "to")
    with (Path(report["backup"]) / "te.json").open("ab") as file:
        file.write(b" ")
    code, report = run("restore_orb_backup", report["backup"], "--data-dir", files, "--apply")
    assert (code, "te.json does not match manifest.json" in report["findings"][0]["message"]) == (2, True)


@pytest.mark.django_db(transaction=True)
def test_the_text_says_where_the_backup_is(files: Path, tmp_path: Path) -> None:
    out = StringIO()
    call_command("create_orb_backup", data_dir=files, to=tmp_path / "to", stdout=out)
    (path,) = (tmp_path / "to").iterdir()
    assert f"Backup created: {path}" in out.getvalue()


@pytest.mark.slow
def test_a_database_in_a_file_comes_back_with_its_project(files: Path, tmp_path: Path) -> None:
    place = tmp_path / "db.sqlite3"
    environment = os.environ | {
        "DEBUG": "true",
        "DJANGO_SETTINGS_MODULE": "orbsite.settings",
        "DATABASE_URL": f"sqlite:///{place}",
        "ORB_BACKUP_DIR": str(tmp_path / "backups"),
        "ORB_DATA_DIR": str(files),
    }

    def manage(*arguments: str) -> Any:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--format" in arguments else None

    manage("migrate", "--verbosity", "0")
    manage("migrate_orb_files", "--format", "json")
    path = manage("create_orb_backup", "--format", "json")["backup"]
    with sqlite3.connect(place) as database:
        before = list(database.iterdump())
        database.execute("DELETE FROM te_reflections")
    database.close()
    manage("restore_orb_backup", path, "--apply", "--format", "json")
    with sqlite3.connect(place) as database:
        assert list(database.iterdump()) == before
    database.close()
    place.unlink()
    manage("restore_orb_backup", path, "--apply", "--format", "json")
    assert manage("verify_orb_files", "--format", "json")["ok"]
