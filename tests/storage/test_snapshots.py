"""What is exported or backed up is of one moment, over all kinds and domains of a database; a slow reader is in no way."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import connections, transaction

from luna.domain import DOMAIN as LUNA
from luna.records import Profile
from orbsite.operations.backup import database, postgresql
from orbsite.operations.files.export import document_of, export, parts_of_document
from orbsite.operations.report import Section
from orbsite.storage.base.snapshot import snapshots
from orbsite.storage.base.store import Store
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.record import Extra
from orbsite.storage.sql import spool
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.api.conftest import Caller, make_token
from tests.support.factories import ProfileFactory, ReflectionFactory
from tests.support.scratch import scratch

pytestmark = pytest.mark.slow

on_servers = pytest.mark.django_db(transaction=True, databases="__all__")
EXPORTS, FILLER = 20, 1500
USER = "ana"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=on_servers)])
def alias(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    if request.param == "postgresql":
        yield request.getfixturevalue("postgresql_alias")
    else:
        with django_db_blocker.unblock(), scratch(tmp_path / "scratch.sqlite3") as name:
            yield name


class Writer(threading.Thread):
    """Writes a profile and a reflection of the same version in one transaction, and adds such a pair, again and again."""

    def __init__(self, alias: str) -> None:
        super().__init__(daemon=True)
        self._alias, self._is_over, self._has_written = alias, threading.Event(), threading.Condition()
        self.version = 0
        self.problem: BaseException | None = None

    def run(self) -> None:
        luna, te = SqlStore(LUNA, self._alias), SqlStore(TE, self._alias)
        try:
            while not self._is_over.is_set():
                text, name = str(self.version + 1), f"extra-{self.version + 1}"
                profiles = [ProfileFactory(user_id=USER, mode_id=one, preferences=(text,)) for one in ("pair", name)]
                with transaction.atomic(self._alias):
                    luna.put(profiles)
                    te.put([ReflectionFactory(id=one, user_id=USER, input=text) for one in ("pair", name)])
                with self._has_written:
                    self.version += 1
                    self._has_written.notify_all()
        except BaseException as problem:  # noqa: BLE001 -- the test tells
            self.problem = problem
        finally:
            connections[self._alias].close()

    def wait_for_more(self) -> None:
        with self._has_written:
            seen = self.version
            assert self._has_written.wait_for(lambda: self.version > seen or self.problem, 60)
        assert self.problem is None

    def give_time(self) -> None:
        """Wait until something more is written, or cannot be because somebody reads."""
        with self._has_written:
            seen = self.version
            self._has_written.wait_for(lambda: self.version > seen, 1)

    def __enter__(self) -> Writer:
        self.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join(60)
        assert not self.is_alive()


@pytest.fixture
def writer(alias: str) -> Iterator[Writer]:
    SqlStore(TE, alias).put(ReflectionFactory.build_batch(FILLER, user_id=USER))
    with Writer(alias) as running:
        yield running


def _versions(luna: Any, te: Any) -> tuple[str, str]:
    items = [one for session in te["sessions"].values() for one in session if one["id"] == "pair"]
    return luna[USER]["profiles"]["pair"]["preferences"][0], items[0]["input"]


def test_no_export_is_torn_by_what_is_written_meanwhile(alias: str, writer: Writer, tmp_path: Path) -> None:
    stores, seen = [SqlStore(LUNA, alias), SqlStore(TE, alias)], set()
    for number in range(EXPORTS):
        user = USER if number % 2 else None
        export(stores, tmp_path / str(number), user=user)
        trees = [json.loads((tmp_path / str(number) / domain.file).read_bytes()) for domain in (LUNA, TE)]
        first, second = _versions(*trees)
        assert first == second, f"export {number} of {EXPORTS} is torn"
        seen.add(first)
        writer.wait_for_more()
    assert len(seen) == EXPORTS


def test_what_is_written_between_two_tables_shows_in_neither(
    alias: str, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = spool._rows

    def with_time_to_write(*arguments: Any) -> Iterator[Any]:
        yield from read(*arguments)
        writer.give_time()

    monkeypatch.setattr(spool, "_rows", with_time_to_write)
    with snapshots([SqlStore(LUNA, alias), SqlStore(TE, alias)], USER) as (luna, te):
        [profile] = [one.record for one in luna.records(Profile) if one.record.mode_id == "pair"]
        [reflection] = [one.record for one in te.records(Reflection) if one.record.id == "pair"]
    assert profile.preferences == (reflection.input,)


def test_a_slow_reader_of_a_snapshot_keeps_nobody_from_writing(alias: str, writer: Writer) -> None:
    with snapshots([SqlStore(LUNA, alias), SqlStore(TE, alias)], USER) as (luna, te):
        [pair] = [one.record for one in luna.records(Profile) if one.record.mode_id == "pair"]
        for _ in range(3):
            writer.wait_for_more()
        [reflection] = [one.record for one in te.records(Reflection) if one.record.id == "pair"]
        assert pair.preferences == (reflection.input,)


def test_a_snapshot_leaves_the_connection_as_it_was(alias: str) -> None:
    with snapshots([SqlStore(TE, alias)]):
        assert not connections[alias].in_atomic_block
        SqlStore(TE, alias).put([ReflectionFactory(user_id=USER)])
    assert SqlStore(TE, alias).count(Reflection) == 1
    with transaction.atomic(alias), snapshots([SqlStore(TE, alias)]) as (taken,):
        assert len(list(taken.records(Reflection))) == 1


def test_a_backup_counts_its_rows_in_the_moment_that_it_keeps(alias: str, writer: Writer, tmp_path: Path) -> None:
    for number in range(3):
        with Directory.make(tmp_path / f"backup-{number}") as directory:
            saved = database.save(directory, alias)
        kept = {
            name: _rows_in(alias, tmp_path / f"backup-{number}", name) for name in ("te_reflections", "luna_profiles")
        }
        assert {name: saved.rows[name] for name in kept} == kept
        assert kept["te_reflections"] - FILLER == kept["luna_profiles"]
        writer.wait_for_more()


def _rows_in(alias: str, backup: Path, table: str) -> int:
    if connections[alias].vendor == "sqlite":
        copy = sqlite3.connect(backup / "database.sqlite3")
        number = copy.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        copy.close()
        return int(number)
    program = postgresql.find("pg_restore", connections[alias].pg_version // 10_000)
    command = [program, "--data-only", f"--table={table}", "--file=-", backup / postgresql.NAME]
    printed = subprocess.run(command, capture_output=True, check=True).stdout.decode().splitlines()
    start = next(at for at, line in enumerate(printed) if line.startswith("COPY "))
    return printed.index("\\.", start) - start - 1


def _filled(store: Store) -> Store:
    if store.domain is LUNA:
        store.put([ProfileFactory(user_id=user, mode_id=mode) for user in (USER, "bo") for mode in ("a", "b")])
        return store
    store.put(
        [
            ReflectionFactory(
                user_id=user,
                session_id=session,
                input="x\n" * size,
                tags=("t" * size, "é😀"),
                notes=None if size else "",
                extra=Extra(score=1e16, long=["y" * size, {"b": [1, None]}]) if size else None,
            )
            for user in (USER, "bo")
            for session in ("s", "7", "own-" + user)
            for size in (0, 10, 300, 5000)
        ]
    )
    return store


@pytest.fixture(params=["memory", "file", "default", "postgresql"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    def opened(domain: Any) -> Store:
        if request.param == "memory":
            return MemoryStore(domain)
        if request.param == "file":
            return FileStore(domain, Document(tmp_path / "data", domain.file))
        if request.param == "postgresql":
            request.getfixturevalue("postgresql_alias")
        return SqlStore(domain, request.param)

    return opened


@on_servers
@pytest.mark.parametrize("domain", [LUNA, TE], ids=lambda domain: domain.name)
@pytest.mark.parametrize("in_memory", [0, 100, 2000, 1 << 20])
@pytest.mark.parametrize("user", [None, USER, "nobody"])
def test_a_document_in_parts_is_the_document(kept: Any, domain: Any, in_memory: int, user: str | None) -> None:
    with snapshots([_filled(kept(domain))], user) as (taken,):
        whole = document_of(taken, section=Section())
        assert b"".join(parts_of_document(taken, section=Section(), in_memory=in_memory)) == whole
    assert isinstance(json.loads(whole), dict)


@on_servers
@pytest.mark.parametrize("domain", [LUNA, TE], ids=lambda domain: domain.name)
def test_a_snapshot_has_what_the_store_has_and_nothing_that_comes_later(kept: Any, domain: Any) -> None:
    store = _filled(kept(domain))
    kind = domain.kinds[0]
    expected = store.find(kind, {"user_id": USER}, oldest_first=True)
    with snapshots([store], USER) as (taken,):
        later = [msgspec.structs.replace(one, extra=Extra(later=True)) for one in expected[:2]]
        store.put(later)
        store.delete(kind, [expected[-1].key])
        found = list(taken.records(kind))
        assert [one.record for one in found] == expected
        assert [taken.again(kind, one.at) for one in found] == expected


@on_servers
@pytest.mark.parametrize("form", ["application/x-ndjson", "application/json"])
def test_an_export_of_large_records_takes_the_memory_of_few(form: str, settings: Any) -> None:
    settings.ORB_PERSISTENCE = "sql"
    large = 9 << 20
    store = SqlStore(TE)
    for _ in range(12):
        store.put([ReflectionFactory(user_id=USER, input="x" * large)])
    ana = Caller(make_token(users=[USER]))
    tracemalloc.start()
    try:
        parts = ana.get(f"/api/v1/users/{USER}/export", Accept=form).streaming_content
        size = sum(map(len, parts))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 12 * large
    assert peak < 150 << 20
