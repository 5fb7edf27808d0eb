"""One run at a time writes to a database, under whatever names programs know it, and never without the lock."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from orbsite.models.ledger import Run
from orbsite.operations.backup import database
from orbsite.operations.backup.create import backup
from orbsite.operations.backup.restore import restore
from orbsite.operations.ledger.runs import alone, alone_over
from orbsite.operations.ledger.tombstones import undo
from orbsite.operations.migration.migrate import import_database, migrate
from orbsite.operations.migration.rollback import rollback
from orbsite.operations.records.sanitize import sanitize
from orbsite.operations.records.upgrade import upgrade_rows
from orbsite.operations.retention.apply import retain
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import LockTimeout, StoreUnavailable
from orbsite.storage.filesystem import mounts
from orbsite.storage.records.domain import registered
from orbsite.stores import open_sql_store
from te.domain import DOMAIN as TE
from te.retention import guides_policy
from tests.support.effort import effort
from tests.support.overlapping import KINDS
from tests.support.scratch import ALIAS, known_as, scratch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
ROUNDS = effort(1, 4)

in_the_test_databases = pytest.mark.django_db(transaction=True, databases="__all__")


@pytest.fixture
def unblocked(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Let databases be used that are no test databases."""
    with django_db_blocker.unblock():
        yield


def overlapping(kind: str, work: Path, rounds: int = 1) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.support.overlapping", kind, str(work / "w"), str(rounds)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def side_by_side(rounds: int, *, refused: int, runs: int) -> dict[str, Any]:
    return {"rounds": rounds, "together": 0, "refused": refused, "wrong": [], "runs": runs}


@pytest.mark.deep
@pytest.mark.parametrize("kind", ["plain", "memory", "symlink"])
def test_of_two_runs_that_overlap_the_second_is_refused(kind: str, tmp_path: Path) -> None:
    assert overlapping(kind, tmp_path, ROUNDS) == side_by_side(ROUNDS, refused=ROUNDS, runs=ROUNDS)


@pytest.mark.deep
def test_a_database_with_two_names_is_refused_under_both(tmp_path: Path) -> None:
    assert overlapping("hard link", tmp_path, ROUNDS) == side_by_side(ROUNDS, refused=2 * ROUNDS, runs=0)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"plain", "memory", "symlink", "hard link"}))
def test_a_run_is_refused_whatever_name_leads_to_the_database(kind: str, tmp_path: Path) -> None:
    assert overlapping(kind, tmp_path) == side_by_side(1, refused=1, runs=1)


@in_the_test_databases
def test_a_run_on_postgresql_is_refused_beside_another(postgresql_alias: str, tmp_path: Path) -> None:
    assert overlapping("postgresql", tmp_path, 2) == side_by_side(2, refused=2, runs=2)


@in_the_test_databases
def test_a_run_stops_where_its_connection_is_lost_and_goes_on_when_called_again(
    postgresql_alias: str, tmp_path: Path
) -> None:
    found = overlapping("lost", tmp_path)
    assert 0 < found.pop("rows") < found["all"]
    assert found == {"code": 2, "told": True, "state": "failed", "again": 0, "states": ["complete"], "all": 6}


@in_the_test_databases
def test_nothing_is_written_over_another_session_than_the_one_that_holds_the_lock(postgresql_alias: str) -> None:
    connection = connections[postgresql_alias]
    with alone(postgresql_alias):
        connection.close()
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="was lost, .* run it again"), connection.cursor():
                pass
        with alone(postgresql_alias), connection.cursor() as cursor:  # as whoever takes the lock again may
            cursor.execute("SELECT 1")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        assert cursor.fetchone() == (0,)


@in_the_test_databases
def test_the_lock_of_a_session_in_disorder_is_freed(postgresql_alias: str) -> None:
    connection = connections[postgresql_alias]
    with alone(postgresql_alias):
        connection.connection.execute("BEGIN")
        connection.connection.pgconn.exec_(b"not SQL")
    other = connection.copy()
    try:
        connections[postgresql_alias] = other
        with alone(postgresql_alias):
            pass
    finally:
        connections[postgresql_alias] = connection
        other.close()


def _is_free(alias: str, lock: Callable[..., Any], *name: str) -> bool:
    """Tell whether another session gets a lock."""
    connection, other = connections[alias], connections[alias].copy()
    try:
        connections[alias] = other
        with lock(*name, alias):
            return True
    except LockTimeout:
        return False
    finally:
        connections[alias] = connection
        other.close()


@in_the_test_databases
def test_runs_over_two_sources_share_postgresql_and_exclude_every_other_run(postgresql_alias: str) -> None:
    with alone_over("/data/a", postgresql_alias):
        assert not _is_free(postgresql_alias, alone)
        assert not _is_free(postgresql_alias, alone_over, "/data/a")
        assert _is_free(postgresql_alias, alone_over, "/data/b")
    assert _is_free(postgresql_alias, alone)
    with alone(postgresql_alias):
        assert not _is_free(postgresql_alias, alone_over, "/data/a")
    with connections[postgresql_alias].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone() == (0,)


@in_the_test_databases
def test_a_refused_lock_over_a_source_leaves_nothing_locked(postgresql_alias: str) -> None:
    other = connections[postgresql_alias].copy()
    try:
        with alone_over("/data/a", postgresql_alias):
            held, connections[postgresql_alias] = connections[postgresql_alias], other
            with pytest.raises(LockTimeout), alone_over("/data/a", postgresql_alias):
                pass
            with other.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
                assert cursor.fetchone() == (0,)
            connections[postgresql_alias] = held
    finally:
        other.close()


@pytest.mark.usefixtures("unblocked")
def test_runs_over_two_sources_take_turns_on_sqlite(tmp_path: Path) -> None:
    with scratch(tmp_path / "db.sqlite3", tables=False) as alias:
        with alone_over("/data/a", alias), pytest.raises(LockTimeout), alone_over("/data/b", alias):
            pass
        with alone_over("/data/b", alias):
            pass


def _imported(directory: Path) -> None:
    path = directory / "earlier.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as earlier:
        earlier.execute(
            "CREATE TABLE IF NOT EXISTS te_reflections (id text PRIMARY KEY, user_id text NOT NULL, session_id text NOT NULL, "
            "input text NOT NULL, output text NOT NULL, tags text, notes text, created_at text NOT NULL)"
        )
    import_database(registered(["te"]), f"sqlite:///{path}", now=utc_now)


def _restored(directory: Path) -> None:
    path = backup(registered(["te"]), None, directory / "backups", now=utc_now).backup
    assert path is not None
    restore(registered(["te"]), path, base=directory / "no", now=utc_now, apply=True)


def _rolled_back(directory: Path) -> None:
    rollback(Run.objects.create(operation="migrate", started_at=utc_now()).pk, registered(["te"]), now=utc_now)


def _undone(directory: Path) -> None:
    run = Run.objects.create(operation="compact", started_at=utc_now())
    undo(str(run.pk), [open_sql_store(TE)], now=utc_now)


@pytest.mark.parametrize(
    "act",
    [
        lambda directory: migrate(registered(["te"]), directory / "data", now=utc_now),
        lambda directory: migrate(registered(["te"]), directory / "data", now=utc_now, only_rejected=True),
        lambda directory: sanitize(registered(["te"]), now=utc_now, apply=True),
        lambda directory: upgrade_rows(registered(["luna"]), now=utc_now),
        lambda directory: retain([open_sql_store(TE)], guides_policy(), now=utc_now),
        _imported,
        _rolled_back,
        _undone,
        _restored,
    ],
    ids=["migrate", "retry", "sanitize", "upgrade", "retain", "import", "rollback", "undo", "restore"],
)
@in_the_test_databases
def test_whatever_writes_as_a_run_is_refused_beside_another(
    act: Callable[[Path], object], files: Path, tmp_path: Path
) -> None:
    with alone(), pytest.raises(LockTimeout, match="another run"):
        act(tmp_path)
    assert not Run.objects.exclude(started_at=None).filter(operation__in=["rollback", "undo", "restore"]).exists()
    act(tmp_path)


@in_the_test_databases
def test_nothing_is_migrated_while_a_backup_is_put_back(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, refused = database.load, []

    def and_migrate(*arguments: Any) -> None:
        with pytest.raises(LockTimeout) as problem:
            migrate(registered(["te"]), files, now=utc_now)
        refused.append(problem)
        load(*arguments)

    monkeypatch.setattr(database, "load", and_migrate)
    _restored(tmp_path)
    assert len(refused) == 1


@pytest.fixture
def named(tmp_path: Path) -> Any:
    """Give a connection to a database by any name, beside others."""
    with ExitStack() as stack:

        def connect(name: str, alias: str) -> str:
            usual = connections.databases["default"]
            stack.enter_context(known_as(alias, {**usual, "ENGINE": "orbsite.runtime.sqlite", "NAME": name}))
            return alias

        yield connect


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("file:one?mode=memory&cache=shared", "file:one?cache=shared&mode=memory", True),
        ("file:one?mode=memory&cache=shared", "file:%6Fne?mode=memory&cache=shared", True),
        ("file:one?mode=memory&cache=shared", "file:other?mode=memory&cache=shared", False),
        ("file:/one?vfs=memdb", "file:/one?vfs=memdb", True),
        (":memory:", ":memory:", False),
    ],
)
@pytest.mark.usefixtures("unblocked")
def test_a_database_in_memory_is_known_by_its_name(one: str, other: str, is_same: bool, named: Any) -> None:
    with alone(named(one, ALIAS)):
        if is_same:
            with pytest.raises(LockTimeout), alone(named(other, "another")):
                pass
        else:
            with alone(named(other, "another")):
                pass
    with alone(ALIAS):
        pass


@pytest.mark.usefixtures("unblocked")
def test_a_database_in_memory_leaves_no_file(named: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with alone(named("file:one?mode=memory&cache=shared", ALIAS)):
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("unblocked")
def test_the_lock_file_is_private_and_stays_and_no_child_keeps_it(tmp_path: Path) -> None:
    lock = tmp_path / "db.sqlite3.runs.lock"
    with scratch(tmp_path / "db.sqlite3", tables=False) as alias:
        with alone(alias):
            child = os.fork()
            if not child:
                signal.pause()
                os._exit(0)
            inode = lock.stat().st_ino
            assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        try:
            with alone(alias):
                assert lock.stat().st_ino == inode
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert lock.stat().st_ino == inode


@pytest.mark.parametrize("what", ["a link", "a directory", "a pipe", "a second name"])
@pytest.mark.usefixtures("unblocked")
def test_what_is_no_plain_lock_file_is_refused_and_left_as_it_is(what: str, tmp_path: Path) -> None:
    lock, elsewhere = tmp_path / "db.sqlite3.runs.lock", tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    {
        "a link": lambda: lock.symlink_to(elsewhere),
        "a directory": lock.mkdir,
        "a pipe": lambda: os.mkfifo(lock),
        "a second name": lambda: lock.hardlink_to(elsewhere),
    }[what]()
    before = lock.lstat()
    with (
        scratch(tmp_path / "db.sqlite3", tables=False) as alias,
        pytest.raises(StoreUnavailable, match=r"db\.sqlite3\.runs\.lock, .* cannot be used: .*; nothing was written"),
        alone(alias),
    ):
        pass
    after = lock.lstat()
    assert (before.st_ino, before.st_mode, before.st_mtime_ns) == (after.st_ino, after.st_mode, after.st_mtime_ns)
    assert elsewhere.read_text() == "theirs"


@pytest.mark.parametrize("name", ["db.sqlite3", "a name\twith\\signs.sqlite3"])
@pytest.mark.usefixtures("unblocked")
def test_a_database_that_is_mounted_as_a_single_file_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    escaped = str(path).replace("\\", r"\134").replace(" ", r"\040").replace("\t", r"\011")
    table = tmp_path / "mountinfo"
    table.write_text(f"20 1 0:3 / {tmp_path} rw - ext4 /dev/x rw\n36 20 0:3 /x {escaped} rw - ext4 /dev/x rw\n")
    with scratch(path, tables=False) as alias:
        with alone(alias):
            pass
        monkeypatch.setattr(mounts, "_MOUNTS", table)
        with (
            pytest.raises(StoreUnavailable, match="mounted as a single file: .* Mount its directory"),
            alone(alias),
        ):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser gives files away")
@pytest.mark.usefixtures("unblocked")
def test_a_lock_file_that_the_superuser_makes_is_its_database_owners(tmp_path: Path) -> None:
    with scratch(tmp_path / "db.sqlite3", tables=False) as alias:
        connections[alias].ensure_connection()
        os.chown(tmp_path / "db.sqlite3", 4321, 4322)
        with alone(alias):
            status = (tmp_path / "db.sqlite3.runs.lock").stat()
            assert (status.st_uid, status.st_gid) == (4321, 4322)
