"""What `manage.py check --database` says of a SQLite file that may lose commits, or that others may read."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import OperationalError, connections

from orbsite.conf import checks
from orbsite.conf.checks import check_placement, check_settings, check_sqlite, resets_wal
from orbsite.storage.citus import PlacedTable
from tests.support.scratch import ALIAS, scratch


@pytest.fixture(autouse=True)
def unblocked(django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


def _found(path: Path, init_command: str | None = None) -> list[str]:
    options = {} if init_command is None else {"init_command": init_command}
    with scratch(path, tables=False, **options):
        return [message.id or "" for message in check_sqlite(databases=[ALIAS])]


def test_a_database_with_our_options_is_fine(tmp_path: Path) -> None:
    assert _found(tmp_path / "db") == []


def test_only_databases_in_use_are_looked_at(tmp_path: Path) -> None:
    with scratch(tmp_path / "db", tables=False, init_command="PRAGMA synchronous=OFF"):
        assert check_sqlite(databases=None) == []
        assert [message.id for message in run_checks(databases=[ALIAS]) if message.id == "orb.E005"] == ["orb.E005"]


@pytest.mark.parametrize(
    ("journal", "synchronous", "found"),
    [
        ("DELETE", "EXTRA", []),
        ("DELETE", "FULL", ["orb.E005"]),
        ("TRUNCATE", "FULL", []),
        ("PERSIST", "NORMAL", ["orb.E005"]),
        ("MEMORY", "EXTRA", ["orb.E005"]),
        ("OFF", "EXTRA", ["orb.E005"]),
        ("WAL", "FULL", []),
        ("WAL", "NORMAL", ["orb.E005"]),
    ],
)
def test_commits_that_a_power_cut_may_take_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str, synchronous: str, found: list[str]
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert _found(tmp_path / "db", f"PRAGMA journal_mode={journal}; PRAGMA synchronous={synchronous};") == found


def test_djangos_own_options_are_an_error(tmp_path: Path) -> None:
    assert _found(tmp_path / "db", "") == ["orb.E005"]


def test_a_write_ahead_log_is_an_error_where_sqlite_may_corrupt_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    assert _found(tmp_path / "db", "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;") == ["orb.E004"]


def test_the_versions_that_may_corrupt_a_write_ahead_log() -> None:
    mended = [(3, 44, 6), (3, 44, 9), (3, 50, 7), (3, 51, 3), (3, 52, 0), (4, 0, 0)]
    broken = [(3, 7, 0), (3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 49, 9), (3, 50, 6), (3, 51, 0), (3, 51, 2)]
    assert [version for version in mended + broken if resets_wal(version)] == broken


@pytest.mark.parametrize(("mode", "found"), [(0o600, []), (0o640, ["orb.W001"]), (0o604, ["orb.W001"])])
def test_a_file_that_others_may_read_is_a_warning(tmp_path: Path, mode: int, found: list[str]) -> None:
    path = tmp_path / "a db"
    _found(path)
    path.chmod(mode)
    assert _found(path) == found
    with scratch(path, tables=False):
        hints = [message.hint for message in check_sqlite(databases=[ALIAS])]
    assert hints == [f"Run: chmod 600 '{path}'"] * len(found)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_file_is_private_from_the_start_whatever_the_umask_is(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with scratch(tmp_path / "db", tables=False), connections[ALIAS].cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("CREATE TABLE t (x)")
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
            cursor.execute("ROLLBACK")
    finally:
        os.umask(before)
    assert modes == {"db": 0o600, "db-journal": 0o600}


def test_a_file_that_is_there_keeps_its_content_and_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE kept (x)")
    connection.close()
    path.chmod(0o640)
    with scratch(path, tables=False), connections[ALIAS].cursor() as cursor:
        assert connections[ALIAS].introspection.table_names(cursor) == ["kept"]
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_place_that_cannot_be_is_sqlites_to_tell(tmp_path: Path) -> None:
    with scratch(tmp_path / "missing" / "db", tables=False), pytest.raises(OperationalError, match="unable to open"):
        connections[ALIAS].ensure_connection()


@pytest.mark.parametrize("rate", ["", "10", "10/s", "0/1s", "10/0s", "-1/1s", "10/min", "٣/1s", "1e3/1s"])
def test_a_rate_that_is_none_is_an_error(settings: Any, rate: str) -> None:
    settings.ORB_API_RATE = rate
    assert [message.id for message in check_settings()] == ["orb.E006"]


@pytest.mark.parametrize("rate", ["none", "1/1s", "1000/10s"])
def test_a_rate_that_is_one_is_fine(settings: Any, rate: str) -> None:
    settings.ORB_API_RATE = rate
    assert check_settings() == []


def test_tables_on_one_node_are_an_error_where_the_setting_says_citus(settings: Any) -> None:
    settings.ORB_SQL_ENGINE = "citus"
    (found,) = check_placement(databases=["default"])
    assert found.id == "orb.E014"
    assert "te_reflections (on one node, not distributed)" in found.msg
    assert check_placement(databases=None) == []


def test_tables_on_several_nodes_are_a_warning_where_the_setting_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("luna_profiles", "luna_active_modes", "te_reflections", "orb_words")
    placed = {name: PlacedTable("distributed", "user_id", "hash", 1, 32) for name in names}
    monkeypatch.setattr(checks, "has_citus", lambda connection: True)
    monkeypatch.setattr(checks, "placed_tables", lambda connection: placed)
    assert [one.id for one in check_placement(databases=["default"])] == ["orb.W005"]
    placed.clear()
    assert check_placement(databases=["default"]) == []


def test_a_table_by_another_column_is_an_error(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ORB_SQL_ENGINE = "citus"
    names = ("luna_profiles", "luna_active_modes", "orb_words")
    placed = {name: PlacedTable("distributed", "user_id", "hash", 1, 32) for name in names}
    placed["te_reflections"] = PlacedTable("distributed", "session_id", "hash", 1, 32)
    monkeypatch.setattr(checks, "placed_tables", lambda connection: placed)
    (found,) = check_placement(databases=["default"])
    assert found.msg.endswith("te_reflections (distributed by session_id, not user_id)")
    placed["te_reflections"] = placed["orb_words"]
    assert check_placement(databases=["default"]) == []


def test_an_unknown_engine_is_an_error(settings: Any) -> None:
    settings.ORB_SQL_ENGINE = "oracle"
    assert [one.id for one in check_settings()] == ["orb.E013"]
    assert check_placement(databases=["default"]) == []
