"""A database that the earlier system wrote, into SQL."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from orbsite.conf.checks import check_origin
from orbsite.operations.migration.databases.database_source import LegacyDatabase
from orbsite.operations.migration.run import COLUMNS
from orbsite.storage.errors import StoreUnavailable
from tests.management.test_commands import run
from tests.support.own_databases import own_database

pytestmark = pytest.mark.django_db

ORIGIN = Path(__file__).parents[1] / "data/orb.db"


def total(report: dict[str, Any], what: str) -> int:
    return sum(report["domains"][name].get(what, 0) for name in report["domains"])


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(ORIGIN, tmp_path / "orb.db"))


def execute(database: Path, *statements: str) -> None:
    with sqlite3.connect(database) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_everything_is_taken_and_nothing_is_written_there(database: Path) -> None:
    before = database.read_bytes()
    code, report = run("import_orb_database", f"sqlite:///{database}")
    kinds = {**report["domains"]["luna"]["kinds"], **report["domains"]["te"]["kinds"]}
    assert code == 0
    assert {kind: (counts["new"], counts["rejected"]) for kind, counts in kinds.items()} == {
        "profiles": (72, 0),
        "active_modes": (15, 0),
        "reflections": (142, 0),
    }
    assert database.read_bytes() == before
    assert sorted(path.name for path in database.parent.iterdir()) == ["orb.db"]
    code, report = run("import_orb_database", str(database))
    assert (code, total(report, "unchanged")) == (0, 229)
    code, undone = run("rollback_orb_migration", report["run"] - 1)
    assert (code, total(undone, "removed")) == (0, 229)


def test_what_the_earlier_files_say_otherwise_is_listed_one_by_one(database: Path, sample: Path) -> None:
    run("import_orb_database", database)
    code, report = run("verify_orb_files", "--data-dir", sample)
    messages = [finding["message"] for finding in report["findings"] if finding["severity"] == "error"]
    assert code == 1
    assert messages.count("differs from SQL in updatedAt") == 62  # whose an open item is, SQL tells
    assert (len(messages), total(report, "missing"), total(report, "extra")) == (62, 0, 0)
    assert report["domains"]["te"]["equal"] == 142


def test_empty_sessions_other_columns_and_bad_rows_are_accounted_for(database: Path) -> None:
    execute(
        database,
        "ALTER TABLE te_reflections ADD COLUMN score REAL",
        "ALTER TABLE te_reflections ADD COLUMN recommendations TEXT",
        "UPDATE te_reflections SET session_id = NULL",
        "UPDATE te_reflections SET score = 0.5, recommendations = '[\"a\"]', input = '[1]' WHERE rowid = 1",
        "UPDATE te_reflections SET created_at = 'soon' WHERE rowid = 2",
        "UPDATE te_reflections SET tags = 'no list' WHERE rowid = 3",
        "DROP TABLE luna_active_modes",
    )
    code, report = run("import_orb_database", database)
    assert (code, total(report, "new"), total(report, "rejected")) == (1, 72 + 140, 2)
    assert "there is no table luna_active_modes" in [finding["message"] for finding in report["findings"]]
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT DISTINCT session_id FROM te_reflections")
        assert cursor.fetchall() == [("default",)]
        cursor.execute("SELECT input, extra FROM te_reflections WHERE extra IS NOT NULL")
        assert cursor.fetchall() == [("[1]", '{"score": 0.5, "recommendations": ["a"]}')]


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/orb.db", "mysql://ana@host/name", "postgresql://ana:secret@localhost:1/x"]
)
def test_a_database_that_cannot_be_read_is_an_error_without_the_password(url: str) -> None:
    code, report = run("import_orb_database", url)
    assert code == 2
    assert "secret" not in report["findings"][0]["message"]


@pytest.mark.usefixtures("postgresql_alias")
def test_the_same_tables_in_postgresql_are_read_too() -> None:
    psycopg = pytest.importorskip("psycopg")
    create = (
        "CREATE TABLE te_reflections (id text, user_id text, session_id text, input text, output text, tags jsonb, "
        "notes text, created_at timestamptz)"
    )
    with own_database() as url:
        with psycopg.connect(url) as connection:
            connection.execute(create)
            connection.execute(
                "INSERT INTO te_reflections VALUES ('a', 'ana', NULL, 'i', 'o', '[\"t\"]', NULL, '2024-01-01 12:00+02')"
            )
        code, report = run("import_orb_database", url, "--only", "te")
    assert (code, total(report, "new")) == (0, 1)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT session_id, tags, created_at FROM te_reflections")
        assert [tuple(map(str, row)) for row in cursor.fetchall()] == [("default", '["t"]', "2024-01-01 10:00:00")]


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(StoreUnavailable, match="not an address"):
        LegacyDatabase("ftp://host/file")
    assert COLUMNS[0] == "read"


def test_migrating_a_database_of_the_earlier_system_says_to_import_it(database: Path) -> None:
    before = database.read_bytes()
    command = [sys.executable, "manage.py", "migrate"]
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{database}", "DEBUG": "true"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "import_orb_database URL" in done.stderr
    assert "already exists" not in done.stderr
    assert database.read_bytes() == before


def test_our_own_database_is_none_of_the_earlier_system() -> None:
    assert check_origin(databases=["default"]) == []


def test_a_view_in_the_place_of_a_table_is_none(database: Path) -> None:
    execute(
        database,
        "DROP TABLE te_reflections",
        "CREATE VIEW te_reflections AS WITH RECURSIVE x(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM x WHERE id < 3) SELECT id FROM x",
    )
    code, report = run("import_orb_database", database)
    assert (code, total(report, "new")) == (0, 72 + 15)
    assert "there is no table te_reflections" in [finding["message"] for finding in report["findings"]]
