"""A connection to SQLite that is kept from request to request, and the file under its name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from orbsite.runtime.sqlite.errors import DatabaseMissing
from tests.support.scratch import ALIAS, execute, scratch


def test_it_is_left_once_another_file_has_its_name(tmp_path: Path, django_db_blocker: Any) -> None:
    path, other = tmp_path / "db", tmp_path / "restored"
    with django_db_blocker.unblock(), scratch(path, tables=False):
        execute(ALIAS, "CREATE TABLE kept (a)")
        connection = connections[ALIAS]
        first = connection.connection
        assert connection.is_usable()
        shutil.copy(path, other)
        other.replace(path)
        assert not connection.is_usable()
        connection.health_check_enabled, connection.health_check_done = True, False
        execute(ALIAS, "INSERT INTO kept VALUES (1)")
        assert connection.connection is not first
        assert connection.is_usable()
        path.unlink()
        assert not connection.is_usable()


def test_a_file_that_was_removed_does_not_come_back_empty(tmp_path: Path, django_db_blocker: Any) -> None:
    path, kept = tmp_path / "db", tmp_path / "kept"
    with django_db_blocker.unblock(), scratch(path, tables=False):
        execute(ALIAS, "CREATE TABLE kept (a)")
        assert path.stat().st_mode & 0o777 == 0o600
        path.rename(kept)
        for _ in range(2):
            connections[ALIAS].close()
            with pytest.raises(DatabaseMissing, match=f"the database {path} does not exist; run: manage.py migrate"):
                execute(ALIAS, "SELECT 1")
        assert list(tmp_path.iterdir()) == [kept]
        kept.rename(path)
        assert execute(ALIAS, "SELECT count(*) FROM kept") == (0,)


@pytest.mark.slow
def test_where_the_settings_say_so_migrate_alone_makes_the_file(tmp_path: Path, django_db_blocker: Any) -> None:
    path = tmp_path / "odd ? name % #1"
    with django_db_blocker.unblock(), scratch(path, tables=False):
        connections[ALIAS].settings_dict["CREATES_FILE"] = False
        for arguments in (["migrate", "--check"], ["migrate", "--plan"], ["showmigrations"]):
            with pytest.raises(DatabaseMissing):
                call_command(*arguments, database=ALIAS, verbosity=0, skip_checks=True)
        assert list(tmp_path.iterdir()) == []
        call_command("migrate", database=ALIAS, verbosity=0)
        assert path.stat().st_mode & 0o777 == 0o600
