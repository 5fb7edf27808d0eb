"""A database that is partitioned by time, with several writers at once, a backup of it, and the way back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django.db import connections

from benchmarks.processes import database
from orbsite.operations.scaling.partitions import add_partitions, split
from orbsite.storage.partitions import Period, is_partitioned, partitions
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import ReflectionFactory
from tests.support.pgbouncer import or_skipped
from tests.support.scratch import ALIAS, known_as
from tests.support.serving import ROOT
from tests.support.shared_run import postgresql_server

pytestmark = pytest.mark.slow
TABLE = "te_reflections"
_ENGINE = "django.db.backends.postgresql"
NOW = datetime(2024, 6, 1, 12, 30, tzinfo=UTC)


class Own:
    """A database of its own, whose table is partitioned, and our commands in it."""

    def __init__(self, url: str, place: Path) -> None:
        self.store = SqlStore(TE, ALIAS)
        self._environment = {
            **os.environ,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "orbsite.settings",
            "ORB_PERSISTENCE": "sql",
            "ORB_DATA_DIR": str(place / "data"),
            "ORB_BACKUP_DIR": str(place / "backups"),
            "DEBUG": "true",
            "SECRET_KEY": "for-tests-alone-Yq3VbX7mWc9LkT2pRz8NsHd5GfJu4EaQwS6yDxB1",
        }

        self.backups = place / "backups"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False)

    def manage(self, *arguments: str) -> None:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """Make the database anew, without tables, for a while in which nothing is connected to it."""
        connection = connections[ALIAS]
        connection.close()
        with connection._nodb_cursor() as cursor:
            name = connection.ops.quote_name(connection.settings_dict["NAME"])
            cursor.execute(f"DROP DATABASE {name}")
            cursor.execute(f"CREATE DATABASE {name}")
        yield

    @property
    def partitions(self) -> list[str]:
        return [one.name for one in partitions(connections[ALIAS], TABLE)]


@pytest.fixture
def own(django_db_blocker: Any, tmp_path: Path) -> Iterator[Own]:
    with or_skipped(), postgresql_server() as server, django_db_blocker.unblock():
        name = f"parts_{uuid4().hex[:8]}"
        made = Own(database(server, name), tmp_path)
        made.manage("migrate", "-v0")
        place = {"HOST": server.host, "PORT": str(server.port), "USER": server.user, "NAME": name, "OPTIONS": {}}
        with known_as(ALIAS, {**connections.databases["default"], "ENGINE": _ENGINE, **place}):
            assert split([TE], period=Period.MONTH, apply=True, now=NOW, using=ALIAS).ok
            yield made


def test_one_of_several_writers_gets_a_key(own: Own) -> None:
    records = [ReflectionFactory(id=f"{number}", user_id="ana", created_at=NOW) for number in range(40)]

    def write(number: int) -> list[bool]:
        at = NOW + timedelta(days=31 * number)  # in a partition of its own
        mine = [msgspec.structs.replace(one, created_at=at) for one in records]
        try:
            added = [own.store.add(one)[1] for one in mine]
            for start in range(0, len(mine), 8):
                own.store.put(mine[start : start + 8])
            return added
        finally:
            connections[ALIAS].close()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(write, range(4)))
    assert [sum(each) for each in zip(*found, strict=True)] == [1] * len(records)
    assert sorted(one.id for one in own.store.walk(Reflection)) == sorted(one.id for one in records)
    assert own.store.count(Reflection) == len(records)


def test_a_backup_comes_back_in_a_new_database(own: Own) -> None:
    records = _aged(1, -1, -40)
    own.store.put(records)
    before = own.partitions
    own.manage("create_orb_backup", "--no-files")
    (backup,) = own.backups.glob("*")
    refused = own.run("restore_orb_backup", str(backup), "--no-files", "--no-backup", "--apply")
    assert (refused.returncode, "Make a new database" in refused.stderr) == (2, True)
    with own.emptied():
        own.manage("migrate", "-v0")
        own.manage("restore_orb_backup", str(backup), "--no-files", "--no-backup", "--apply")
    assert own.partitions == before
    assert {one.key: one for one in own.store.walk(Reflection)} == {one.key: one for one in records}
    assert own.store.add(records[0]) == (records[0], False)
    assert add_partitions(NOW + timedelta(days=200), [TE], ALIAS) == 4


def test_the_way_back_of_the_documentation(own: Own) -> None:
    records = _aged(1, -1, -40)
    own.store.put(records)
    page = (ROOT / "docs/how-to/partitions.md").read_text()
    statements = page.split("```sql\n")[1].split("```")[0]
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(statements)
        cursor.execute("SELECT indexname FROM pg_indexes WHERE tablename = %s", [TABLE])
        indexes = {name for (name,) in cursor.fetchall()}
    assert indexes - {f"{TABLE}_pkey", f"{TABLE}_key"} == {one.name for one in ReflectionRow._meta.indexes}
    connections[ALIAS].close()
    assert not is_partitioned(connections[ALIAS], TABLE)
    assert {one.key: one for one in own.store.walk(Reflection)} == {one.key: one for one in records}
    moved = msgspec.structs.replace(records[0], created_at=NOW)
    own.store.put([moved, *_aged(5)])
    assert own.store.count(Reflection) == 4


def _aged(*days: float) -> list[Reflection]:
    return [ReflectionFactory(id=f"{day:05}", created_at=NOW - timedelta(days=day)) for day in days]
