"""What a backup has comes back whole; one that is not whole, or of something else, changes nothing."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections, transaction

from orbsite.operations.backup import create as backups
from orbsite.operations.backup import database as dump
from orbsite.operations.backup import manifest, postgresql, sqlite
from orbsite.operations.backup.create import backup, take
from orbsite.operations.backup.restore import restore
from orbsite.operations.ledger.runs import alone
from orbsite.storage.errors import DocumentCorrupt, DocumentError, OrbError, SaveFailed, StoreUnavailable
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.syscalls import FileSystem
from orbsite.storage.records.domain import registered
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import file_store
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.factories import ReflectionFactory

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.slow]

MOMENT = datetime(2026, 11, 23, 4, 54, 29, tzinfo=UTC)
NAME = "20261123T045429Z"
DOCUMENT = "te/reflections.json"


def now() -> datetime:
    return MOMENT


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Two documents, one with a journal."""
    file_store(TE, tmp_path / "data").put([ReflectionFactory(id="a"), ReflectionFactory(id="b")])
    from orbsite.storage.file.document import Document
    from orbsite.storage.file.store import FileStore

    FileStore(TE, Document(tmp_path / "data", TE.file), journal_above=0).put([ReflectionFactory(id="c")])
    assert (tmp_path / "data" / f"{DOCUMENT}.journal").exists()
    return tmp_path / "data"


def made(base: Path | None, to: Path, **options: Any) -> Path:
    path = backup(registered(["te"]), base, to, now=now, **options).backup
    assert path is not None
    return path


def back(directory: Path, base: Path, **options: Any) -> Any:
    return restore(registered(["te"]), directory, base=base, now=now, **{"apply": True, **options})


def ids(base: Path) -> set[str]:
    return {one.id for one in file_store(TE, base).find(Reflection)}


def state(base: Path) -> dict[str, bytes]:
    return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}


def rewrite(directory: Path, change: Callable[[Any], None]) -> None:
    """Change the manifest, and make the sums fit again."""
    tree = json.loads((directory / "manifest.json").read_bytes())
    change(tree)
    data = json.dumps(tree).encode()
    (directory / "manifest.json").write_bytes(data)
    lines = (directory / "SHA256SUMS").read_text().splitlines()[:-1]
    lines.append(f"{hashlib.sha256(data).hexdigest()}  manifest.json")
    (directory / "SHA256SUMS").write_text("".join(f"{line}\n" for line in lines))


def test_database_and_files_come_back_equal_field_by_field(alias: str, base: Path, tmp_path: Path) -> None:
    store = SqlStore(TE, alias)
    records = [ReflectionFactory(input="Größe \u2028 🚀"), ReflectionFactory(), ReflectionFactory()]
    store.put(records)
    saved, of_files = list(store.walk(Reflection)), list(file_store(TE, base).walk(Reflection))
    path = made(base, tmp_path / "to", using=alias, label="a test")
    store.delete(Reflection, [records[0].key])
    store.put([ReflectionFactory(id="later"), *(one for one in records[1:2])])
    file_store(TE, base).delete(Reflection, [("ana", "a")])
    told = back(path, base, using=alias, apply=False)
    assert (told.ok, told.domains["te"].counts["files"]["differ"]) == (True, 1)
    assert ids(base) == {"b", "c"}
    assert {one.id for one in store.walk(Reflection)} == {"later", records[1].id, records[2].id}
    report = back(path, base, using=alias, safety=tmp_path / "safety")
    assert report.domains["te"].counts["files"]["restored"] == 1
    assert list(store.walk(Reflection)) == saved
    assert list(file_store(TE, base).walk(Reflection)) == of_files
    assert report.backup == tmp_path / "safety" / NAME
    back(report.backup, base, using=alias)
    assert "later" in {one.id for one in store.walk(Reflection)}
    assert ids(base) == {"b", "c"}


def test_it_is_private_dated_and_checks_with_common_tools(alias: str, base: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    paths = [made(base, to, using=alias) for _ in range(3)]
    assert [path.name for path in paths] == [NAME, f"{NAME}-2", f"{NAME}-3"]
    assert sorted(path.name for path in to.iterdir()) == sorted(path.name for path in paths)
    assert {oct(path.stat().st_mode & 0o777) for path in (to, *paths)} == {"0o700"}
    assert {oct(path.stat().st_mode & 0o777) for path in paths[0].iterdir()} == {"0o600"}
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=paths[0], check=False)
    assert done.returncode == 0
    told = json.loads((paths[0] / "manifest.json").read_bytes())
    assert (told["format"], told["taken_at"]) == (1, "2026-11-23T04:54:29.000Z")
    assert ["te", "0001_initial"] in told["database"]["migrations"]
    assert told["database"]["vendor"] == connections[alias].vendor


def test_a_journal_is_in_it_and_a_missing_document_is_said_to_be(base: Path, tmp_path: Path) -> None:
    report = backup(registered(["te", "luna"]), base, tmp_path / "to", now=now, database=False)
    assert report.backup is not None
    with manifest.checked(report.backup) as (_, told):
        assert {one.document: one.file is None for one in told.documents} == {
            "luna/profiles.json": True,
            DOCUMENT: False,
        }
    assert report.domains["luna"].findings[0].message == "does not exist; the backup records that"
    assert {item["id"] for items in json.loads((report.backup / "te.json").read_bytes())["sessions"].values() for item in items} == {"a", "b", "c"}  # fmt: skip
    other = tmp_path / "other"
    back(report.backup, other)
    assert ids(other) == {"a", "b", "c"}


def test_what_was_read_already_is_kept_as_it_was_read(tmp_path: Path) -> None:
    path = take(registered(["te"]), {"te": b"{}", "luna": None}, tmp_path, now=now, label="before migrate")
    assert (path / "te.json").read_bytes() == b"{}"
    assert json.loads((path / "manifest.json").read_bytes())["label"] == "before migrate"
    path = take(registered(["te"]), None, tmp_path, now=now, database=False)
    assert sorted(one.name for one in path.iterdir()) == ["SHA256SUMS", "manifest.json"]


def test_within_a_transaction_it_is_taken_too(alias: str, tmp_path: Path) -> None:
    with transaction.atomic(using=alias):
        SqlStore(TE, alias).put([ReflectionFactory()])
        path = take(registered(["te"]), None, tmp_path, now=now, label="caf\udce9", using=alias)
    with manifest.checked(path) as (_, told):
        assert told.label == "caf\\xe9"


@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS", "te.json", "database.sqlite3"])
def test_a_file_that_is_damaged_cut_or_gone_is_refused(base: Path, tmp_path: Path, name: str) -> None:
    path = made(base, tmp_path / "to")
    file_store(TE, base).put([ReflectionFactory(id="later")])
    before, data = state(base), (path / name).read_bytes()
    steps = range(0, len(data), max(1, len(data) // 40))
    spoiled = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in steps]
    for content in [*spoiled, data[:-1], data[: len(data) // 2], b"", data + b"\n", None]:
        (path / name).unlink(missing_ok=True)
        if content is not None:
            (path / name).write_bytes(content)
        for apply in (False, True):
            with pytest.raises(DocumentCorrupt):
                back(path, base, apply=apply, safety=tmp_path / "safety")
    assert (state(base), (tmp_path / "safety").exists()) == (before, False)
    (path / name).write_bytes(data)
    back(path, base)


def test_links_and_what_is_no_part_of_it_are_refused(base: Path, tmp_path: Path) -> None:
    path = made(base, tmp_path / "to")
    (path / "te.json").rename(tmp_path / "te.json")
    (path / "te.json").symlink_to(tmp_path / "te.json")
    with pytest.raises(DocumentError, match="symbolic link"):
        back(path, base)
    (path / "te.json").unlink()
    os.link(tmp_path / "te.json", path / "te.json")
    with pytest.raises(DocumentError, match="second name"):
        back(path, base)
    (tmp_path / "te.json").unlink()
    (path / "notes.txt").write_text("mine")
    with pytest.raises(DocumentError, match=r"notes.txt.* not part of the backup"):
        back(path, base)
    (path / "notes.txt").unlink()
    back(path, base)
    with pytest.raises(DocumentError, match="there is no backup"):
        back(path / "no", base)
    (tmp_path / "latest").symlink_to(path)
    with pytest.raises(DocumentError, match="symbolic link"):
        back(tmp_path / "latest", base)


@pytest.mark.parametrize("name", ["../te.json", "/etc/passwd", "..", ".hidden", "a/b", "", "te.json\n", "a\x00b"])
def test_names_that_lead_elsewhere_are_refused(base: Path, tmp_path: Path, name: str) -> None:
    path = made(base, tmp_path / "to")
    rewrite(path, lambda tree: tree["documents"][0]["file"].update(name=name))
    before = state(base)
    with pytest.raises(DocumentCorrupt, match=r"damaged: manifest.json is not valid"):
        back(path, base)
    assert state(base) == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tree: tree.update(format=2), "newer version"),
        (lambda tree: tree.update(more=1), "unknown field"),
        (lambda tree: tree["database"].update(vendor="postgresql"), "DATABASE_URL names a sqlite one"),
        (lambda tree: tree["database"]["migrations"].append(["te", "0099_later"]), "te.0099_later"),
        (lambda tree: tree["database"]["migrations"].remove(["te", "0001_initial"]), "te.0001_initial"),
        (lambda tree: tree["documents"][0].update(document="te/other.json"), "stores it as te/reflections.json"),
        (lambda tree: tree["documents"].append(tree["documents"][0]), "twice"),
        (lambda tree: tree["database"]["file"].update(name="te.json"), "twice"),
    ],
)
def test_a_backup_of_something_else_is_refused(
    base: Path, tmp_path: Path, change: Callable[[Any], None], reason: str
) -> None:
    path = made(base, tmp_path / "to")
    file_store(TE, base).put([ReflectionFactory(id="later")])
    rewrite(path, change)
    before = state(base)
    with pytest.raises(OrbError, match=reason):
        back(path, base, safety=tmp_path / "safety")
    assert (state(base), (tmp_path / "safety").exists()) == (before, False)


def test_migrations_of_apps_that_are_gone_are_no_matter(base: Path, tmp_path: Path) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('gone', '0001', '2024-01-01')")
    try:
        back(made(base, tmp_path / "to"), base)
    finally:
        with connections["default"].cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE app = 'gone'")


@pytest.mark.parametrize("call", ["create", "write", "sync", "rename_to_free", "names", "status"])
def test_a_fault_at_any_call_leaves_no_backup_that_is_not_whole(
    base: Path, tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, documents = getattr(FileSystem, call), {"te": file_store(TE, base).snapshot()}
    for failing in range(1, 200):
        calls, to = iter(range(1, 1000)), tmp_path / f"to-{failing}"

        def fail(*arguments: Any, calls: Any = calls, failing: int = failing) -> Any:
            if next(calls) == failing:
                raise OSError(5, "Input/output error")
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(FileSystem, call, fail)
            try:
                take(registered(["te"]), documents, to, now=now)
            except (OrbError, OSError):
                pass
            else:
                break
        for path in to.iterdir() if to.exists() else ():
            assert path.name == NAME
            with manifest.checked(path):
                pass
    assert failing > 1 or call == "names"
    with manifest.checked(to / NAME):
        pass


def test_killed_in_the_middle_there_is_nothing_under_its_name(base: Path, tmp_path: Path) -> None:
    documents = {"te": file_store(TE, base).snapshot()}
    to = tmp_path / "to"
    for number in range(1, 8):
        pid = os.fork()
        if not pid:
            try:
                die_at(number)
                take(registered(["te"]), documents, to, now=now, database=False)
            finally:
                os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        for path in to.glob("2*"):
            with manifest.checked(path):
                pass
        assert killed or number > 5
    assert take(registered(["te"]), documents, to, now=now).parent == to


def die_at(number: int) -> None:
    """Have this process killed in the place of one of its syncs."""
    calls, real = iter(range(1, 1000)), FileSystem.sync

    def sync(self: FileSystem, descriptor: int) -> None:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(self, descriptor)

    FileSystem.sync = sync


def test_a_full_disk_is_an_error_that_leaves_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileSystem, "write", full)
    with pytest.raises(SaveFailed, match="No space left"):
        take(registered(["te"]), {"te": b"{}"}, tmp_path / "to", now=now)
    assert list((tmp_path / "to").iterdir()) == []


def test_it_is_made_without_renameat2_too(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(FileSystem, "rename_to_free", none)
    monkeypatch.setattr(FileSystem, "exchange", none)
    assert [made(base, tmp_path / "to").name for _ in range(2)] == [NAME, f"{NAME}-2"]


def test_what_the_backup_has_not_is_left_and_equal_files_are_not_written(base: Path, tmp_path: Path) -> None:
    path = made(base, tmp_path / "to")
    before = state(base)
    report = back(path, base)
    assert (state(base), report.domains["te"].counts["files"]["equal"]) == (before, 1)
    empty = backup(registered(["te"]), tmp_path, tmp_path / "to", now=now).backup
    assert empty is not None
    report = back(empty, base)
    assert (state(base), report.domains["te"].counts["files"]["left"]) == (before, 1)
    assert "it was left unchanged" in report.domains["te"].findings[0].message


def test_what_is_replaced_stays_as_prev(base: Path, tmp_path: Path) -> None:
    path = made(base, tmp_path / "to", database=False)
    file_store(TE, base).fold()
    file_store(TE, base).put([ReflectionFactory(id="later")])
    before = (base / DOCUMENT).read_bytes()
    back(path, base)
    assert ((base / f"{DOCUMENT}.prev").read_bytes(), ids(base)) == (before, {"a", "b", "c"})


@pytest.mark.parametrize("damage", ["document", "journal", "lost"])
def test_a_document_that_cannot_be_read_is_kept_aside(
    base: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = made(base, tmp_path / "to", database=False)
    document, journal = base / DOCUMENT, base / f"{DOCUMENT}.journal"
    if damage == "journal":
        lines = journal.read_bytes()
        journal.write_bytes(lines[:20] + b"X" + lines[21:])
    elif damage == "document":
        document.write_bytes(b'{"torn')
    else:
        document.unlink()
    old = {name: data for name, data in state(base).items() if not name.endswith(".lock")}
    with pytest.raises(DocumentCorrupt):
        ids(base)
    report = back(path, base, safety=tmp_path / "safety")
    assert report.domains["te"].counts["files"]["restored"] == 1
    assert ids(base) == {"a", "b", "c"}
    assert set(old.values()) <= set(state(base).values())
    assert ids(base) == {"a", "b", "c"}


def test_a_restore_of_files_that_is_cut_short_is_done_again(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(base, tmp_path / "to", database=False)
    file_store(TE, base).put([ReflectionFactory(id="later")])
    document, real = base / DOCUMENT, FileSystem.exchange

    def cut(*arguments: Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FileSystem, "exchange", cut)
        with pytest.raises(KeyboardInterrupt):
            back(path, base)
    assert document.exists()
    back(path, base)
    assert ids(base) == {"a", "b", "c"}
    kept = b"".join(state(base).values())
    assert b'"later"' in kept


def test_a_damaged_document_is_kept_and_said_to_be_no_good(base: Path, tmp_path: Path) -> None:
    (base / f"{DOCUMENT}.journal").unlink()
    (base / DOCUMENT).write_bytes(b'{"torn')
    report = backup(registered(["te"]), base, tmp_path / "to", now=now)
    assert "cannot be restored by a command" in report.domains["te"].findings[0].message
    with pytest.raises(DocumentCorrupt, match="was damaged before it was backed up"):
        back(report.backup, base)


def test_a_data_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="there is no data directory"):
        made(tmp_path / "no", tmp_path / "to")
    assert not (tmp_path / "to").exists()
    made(None, tmp_path / "to")
    with pytest.raises(OrbError, match="nothing to back up"):
        made(None, tmp_path / "to", database=False)


def test_no_other_run_goes_beside_a_restore(alias: str, base: Path, tmp_path: Path) -> None:
    path = made(base, tmp_path / "to", using=alias)
    if alias == "default":
        with alone(alias), pytest.raises(StoreUnavailable, match="another run"):
            back(path, base, using=alias)
    with transaction.atomic(using=alias), pytest.raises(OrbError, match="within a transaction"):
        back(path, base, using=alias)


def test_an_error_after_the_safety_backup_names_it(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise StoreUnavailable("the server went away")

    path = made(base, tmp_path / "to")
    file_store(TE, base).put([ReflectionFactory(id="later")])
    before = state(base)
    monkeypatch.setattr(dump, "load", fail)
    with pytest.raises(OrbError, match=f"went away; the data from before the restore is in .*{NAME}"):
        back(path, base, safety=tmp_path / "safety")
    assert state(base) == before


def on_file(path: Path) -> Any:
    def close() -> None:
        pass

    return SimpleNamespace(settings_dict={"NAME": str(path)}, is_in_memory_db=lambda: False, close=close)


def test_a_sqlite_file_is_copied_while_others_write_and_waits_no_longer_than_it_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a ?#%é.sqlite3"
    (tmp_path / "to").mkdir(mode=0o700)
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("CREATE TABLE t (x)")
    other.execute("INSERT INTO t VALUES (1)")
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO t VALUES (2)")
    with Directory.open(tmp_path / "to") as directory:
        sqlite.save(on_file(place), directory)
        sqlite.check(directory)
        other.execute("COMMIT")
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(sqlite, "_PATIENCE", 0.2)
        with pytest.raises(StoreUnavailable, match="other programs blocked the database"):
            sqlite.load(on_file(place), directory)
        other.execute("ROLLBACK")
        assert other.execute("SELECT x FROM t").fetchall() == [(1,), (2,)]
        sqlite.load(on_file(place), directory)
        assert other.execute("SELECT x FROM t").fetchall() == [(1,)]
        (tmp_path / "to" / sqlite.NAME).write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
        with pytest.raises(DocumentCorrupt, match="is damaged"):
            sqlite.check(directory)
    other.close()


def test_a_damaged_sqlite_database_is_not_taken_for_a_backup(tmp_path: Path) -> None:
    place, to = tmp_path / "db.sqlite3", tmp_path / "to"
    to.mkdir(mode=0o700)
    with sqlite3.connect(place) as database:
        database.execute("CREATE TABLE t (x UNIQUE)")
        database.executemany("INSERT INTO t VALUES (?)", [(f"{number:0500}",) for number in range(100)])
    database.close()
    data = bytearray(place.read_bytes())
    data[8192:12288] = b"\xff" * 4096
    place.write_bytes(data)
    with Directory.open(to) as directory, pytest.raises(StoreUnavailable, match="is damaged"):
        sqlite.save(on_file(place), directory)


@pytest.fixture
def server(transactional_db: None) -> str:
    if "postgresql" not in connections:
        pytest.skip("no PostgreSQL here: its backups were NOT tested")
    return "postgresql"


def test_the_password_is_in_no_argument(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    real = subprocess.run

    def spy(command: Any, **options: Any) -> Any:
        started.append((list(map(str, command)), options.get("env") or {}))
        return real(command, **options)

    monkeypatch.setattr(postgresql.subprocess, "run", spy)
    monkeypatch.setitem(connections[server].settings_dict, "PASSWORD", "s3cret word")
    with caplog.at_level(logging.DEBUG):
        back(made(None, tmp_path, using=server), tmp_path / "no", using=server)
    programs = [(Path(command[0]).name, environment) for command, environment in started if "--no-password" in command]
    assert [name for name, _ in programs] == ["pg_dump", "pg_restore"]
    assert all(environment["PGPASSWORD"] == "s3cret word" for _, environment in programs)
    assert not [word for command, _ in started for word in command if "s3cret" in word]
    assert "s3cret" not in caplog.text
    assert b"s3cret" not in b"".join(state(tmp_path).values())
    assert "PGPASSWORD" not in os.environ


def test_without_a_program_that_fits_the_error_says_what_to_install(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "INSTALLED", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreUnavailable, match=r"there is no pg_dump .*; install postgresql-client-\d+"):
        made(None, tmp_path / "to", using=server)
    fake(tmp_path / "pg_dump", 9)
    with pytest.raises(StoreUnavailable, match=r"pg_dump 9 is too old .*--no-backup"):
        made(None, tmp_path / "to", using=server)
    (tmp_path / "pg_dump").write_text("#!/no/such/program\n")
    with pytest.raises(StoreUnavailable, match="there is no pg_dump"):
        made(None, tmp_path / "to", using=server)
    assert list((tmp_path / "to").iterdir()) == []


def fake(path: Path, version: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}.3 (Debian)'\n")
    path.chmod(0o755)
    return path


def test_the_program_next_to_the_servers_version_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = {version: fake(tmp_path / str(version) / "bin/pg_dump", version) for version in (14, 15, 18)}
    monkeypatch.setattr(postgresql, "INSTALLED", tmp_path)
    monkeypatch.setenv("PATH", "")
    found = {server: postgresql.find("pg_dump", server) for server in (14, 15, 16, 18)}
    assert found == {14: programs[14], 15: programs[15], 16: programs[18], 18: programs[18]}


def test_a_postgresql_restore_is_all_or_nothing(server: str, tmp_path: Path) -> None:
    store = SqlStore(TE, server)
    store.put([ReflectionFactory(id="a")])
    path = made(None, tmp_path, using=server)
    store.put([ReflectionFactory(id="b")])
    with connections[server].cursor() as cursor:
        cursor.execute("CREATE VIEW leans_on_it AS SELECT id FROM te_reflections")
    try:
        with pytest.raises(StoreUnavailable, match=r"was not restored and is unchanged: .*error"):
            back(path, tmp_path / "no", using=server)
        assert {one.id for one in store.walk(Reflection)} == {"a", "b"}
    finally:
        with connections[server].cursor() as cursor:
            cursor.execute("DROP VIEW leans_on_it")
    back(path, tmp_path / "no", using=server)
    assert {one.id for one in store.walk(Reflection)} == {"a"}
    with alone(server):
        pass


def test_a_table_that_others_hold_is_not_waited_for_without_end(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(None, tmp_path, using=server)
    monkeypatch.setattr(postgresql, "_PATIENCE", "200ms")
    other = connections[server].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT count(*) FROM te_reflections")
            with pytest.raises(StoreUnavailable, match="other sessions lock tables"):
                back(path, tmp_path / "no", using=server)
    finally:
        other.close()


def test_a_file_that_is_no_dump_is_refused(server: str, tmp_path: Path) -> None:
    path = made(None, tmp_path, using=server)
    (path / postgresql.NAME).write_bytes(b"CREATE TABLE")
    with Directory.open(path) as directory, pytest.raises(DocumentCorrupt, match="is no dump"):
        postgresql.check(directory)


def test_nothing_temporary_is_left(alias: str, base: Path, tmp_path: Path) -> None:
    shutil.rmtree(made(base, tmp_path / "to", using=alias))
    assert list((tmp_path / "to").iterdir()) == []
    assert backups.DATABASE == "database"
