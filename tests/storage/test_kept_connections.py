"""A connection to SQLite that is kept from request to request, and the file under its name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from django.db import connections

from tests.scratch import ALIAS, execute, scratch


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
