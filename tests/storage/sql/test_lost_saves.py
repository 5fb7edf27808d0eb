"""A save in SQL that fails tells exactly what became of it, and the next one works."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from orbsite.storage.errors import OrbError, SaveFailed, SaveOutcomeUnknown, StoreUnavailable
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.factories import ReflectionFactory
from tests.support.scratch import aside, execute, known_as, of_sqlite, scratch

on_servers = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture
def file(tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    with django_db_blocker.unblock(), scratch(tmp_path / "db") as alias:
        yield alias


@pytest.fixture
def server(postgresql_alias: str) -> str:
    return postgresql_alias


@on_servers
def test_a_connection_that_is_lost_before_the_commit_wrote_nothing(server: str) -> None:
    first, second = ReflectionFactory(), ReflectionFactory()
    store = SqlStore(TE, server)

    def act() -> None:
        store.put([first])
        _kill_the_backend(server)
        store.put([second])

    with pytest.raises(StoreUnavailable, match="nothing was written"):
        store._attempts.run(act)
    assert store.count(Reflection) == 0
    store.put([first])
    assert store.count(Reflection) == 1


def _kill_the_backend(alias: str) -> None:
    (pid,) = execute(alias, "SELECT pg_backend_pid()")
    aside(alias, lambda: execute(alias, "SELECT pg_terminate_backend(%s, 5000)", pid))


@on_servers
@pytest.mark.parametrize("took_effect", [False, True])
def test_a_connection_that_is_lost_at_the_commit_leaves_it_open(
    server: str, monkeypatch: pytest.MonkeyPatch, took_effect: bool
) -> None:
    record, connection, store = ReflectionFactory(), connections[server], SqlStore(TE, server)
    commit = connection.commit

    def lose() -> None:
        monkeypatch.undo()
        pid = connection.connection.info.backend_pid
        if took_effect:
            commit()
        aside(server, lambda: execute(server, "SELECT pg_terminate_backend(%s, 5000)", pid))
        commit() if not took_effect else execute(server, "SELECT 1")

    monkeypatch.setattr(connection, "commit", lose)
    with pytest.raises(SaveOutcomeUnknown, match=r"may or may not have taken place.*Read the keys again.*repeated"):
        store.put([record])
    assert store.fetch(Reflection, [record.key]) == ({record.key: record} if took_effect else {})
    assert store.add(record) == (record, not took_effect)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_IOERR_DIR_FSYNC, SaveOutcomeUnknown),
        (sqlite3.SQLITE_IOERR_FSYNC, SaveOutcomeUnknown),
        (sqlite3.SQLITE_FULL, SaveFailed),
    ],
)
def test_what_sqlite_cannot_confirm_may_be_there(
    file: str, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[OrbError]
) -> None:
    def fail() -> None:
        raise of_sqlite(code)

    store, record = SqlStore(TE, file), ReflectionFactory()
    monkeypatch.setattr(connections[file], "commit", fail)
    with pytest.raises(kind):
        store.put([record])
    monkeypatch.undo()
    assert (connections[file].connection is None) is (kind is SaveOutcomeUnknown)  # whoever opens it anew, recovers it
    store.put([record])
    assert store.count(Reflection) == 1


def test_a_disk_that_is_full_leaves_the_old_content(file: str) -> None:
    store = SqlStore(TE, file)
    store.put([ReflectionFactory()])
    execute(file, "PRAGMA max_page_count = 1")
    with pytest.raises(SaveFailed, match="nothing was written: database or disk is full"):
        store.put([ReflectionFactory(input="x" * 100_000)])
    assert store.count(Reflection) == 1


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path, django_db_blocker: Any) -> None:
    usual = connections.databases["default"]
    nowhere = {**usual, "ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": str(tmp_path), "OPTIONS": {}}
    with (
        django_db_blocker.unblock(),
        known_as("nowhere", nowhere),
        pytest.raises(StoreUnavailable, match="Check that the database runs"),
    ):
        SqlStore(TE, "nowhere").put([ReflectionFactory()])
