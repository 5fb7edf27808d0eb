"""Source databases as files and addresses: what is opened, how, and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from orbsite.models.ledger import Run, RunState
from orbsite.operations.migration.databases import sqlite_source
from orbsite.operations.migration.databases.database_address import Address
from orbsite.operations.migration.databases.database_source import LegacyDatabase
from orbsite.operations.migration.migrate import import_database
from orbsite.operations.progress import Progress, Stopped
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import StoreUnavailable
from te.domain import DOMAIN as TE
from tests.management.test_commands import run

pytestmark = pytest.mark.django_db

ROW = "'ana', 's', 'in', 'out', '[]', NULL, '2024-01-01T00:00:00Z'"
TABLE = (
    "CREATE TABLE te_reflections (id TEXT PRIMARY KEY, user_id TEXT, session_id TEXT, input TEXT, output TEXT, "
    "tags TEXT, notes TEXT, created_at TEXT)"
)


def made(path: Path, mode: str = "delete", rows: int = 3) -> Path:
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute(TABLE)
        connection.executemany(f"INSERT INTO te_reflections VALUES (?, {ROW})", [(f"r{at}",) for at in range(rows)])
        connection.commit()
    return path


def seen(directory: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        one.name: (one.read_bytes(), one.stat().st_mtime_ns, one.stat().st_mode) for one in sorted(directory.iterdir())
    }


def new(*arguments: Any) -> tuple[int, int]:
    code, report = run("import_orb_database", *arguments, "--only", "te")
    return code, report["domains"].get("te", {}).get("new", 0)


@pytest.mark.parametrize("option", ["--dry-run", "--no-backup"])
@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "wal"])
def test_nothing_is_written_beside_a_source_that_was_closed(tmp_path: Path, mode: str, option: str) -> None:
    source = made(tmp_path / "src" / "orb.db", mode)
    before = seen(source.parent)
    assert new(source, option) == (0, 3)
    assert seen(source.parent) == before


@pytest.mark.parametrize("option", ["--dry-run", "--no-backup"])
def test_a_source_in_use_with_a_log_is_read_with_it(
    tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    source = made(tmp_path / "src" / "orb.db", "wal")
    with closing(sqlite3.connect(source)) as other:
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute(f"INSERT INTO te_reflections VALUES ('later', {ROW})")
        other.commit()
        other.execute(f"INSERT INTO te_reflections VALUES ('not yet', {ROW})")
        before = seen(source.parent)
        assert new(source, option) == (0, 4)
        assert seen(source.parent) == before
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_log_that_was_left_behind_is_read(tmp_path: Path) -> None:
    source = made(tmp_path / "src" / "orb.db", "wal")
    with closing(sqlite3.connect(source)) as other:
        other.execute(f"INSERT INTO te_reflections VALUES ('later', {ROW})")
        other.commit()
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("orb.db", "orb.db-wal"):
            shutil.copy(source.parent / name, copy / name)
    before = seen(copy)
    assert new(copy / "orb.db", "--no-backup") == (0, 4)
    assert seen(copy) == before
    assert new(copy / "orb.db", "--no-backup") == (0, 0)
    assert len(set(Run.objects.values_list("source_digest", flat=True))) == 1


def test_a_write_that_was_cut_off_is_undone_in_a_copy(tmp_path: Path) -> None:
    source = made(tmp_path / "src" / "orb.db", "delete", rows=500)
    command = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA cache_size = 1'); c.execute('PRAGMA cache_spill = 1')\n"
        "c.execute(\"UPDATE te_reflections SET input = 'half written ' || hex(randomblob(2000))\"); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", command, str(source)], check=False)
    assert (source.parent / "orb.db-journal").stat().st_size
    before = seen(source.parent)
    assert new(source, "--no-backup") == (0, 500)
    assert seen(source.parent) == before
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM te_reflections WHERE input = 'in'")
        assert cursor.fetchone() == (500,)


def test_a_source_that_changes_while_it_is_read_is_told_of(tmp_path: Path) -> None:
    source = made(tmp_path / "src" / "orb.db", "wal", rows=3000)
    with LegacyDatabase(str(source)) as origin:
        entries = origin.entries(TE)
        next(entries)
        with closing(sqlite3.connect(source)) as other:
            other.execute("DELETE FROM te_reflections")
            other.commit()
        with pytest.raises(StoreUnavailable, match="changed while it was read"):
            list(entries)


def test_what_holds_no_database_is_refused(tmp_path: Path) -> None:
    good = made(tmp_path / "src" / "orb.db", rows=500)
    empty, short, text, cut, pipe = (tmp_path / name for name in ("empty", "short", "text", "cut", "pipe"))
    empty.touch()
    short.write_bytes(good.read_bytes()[:50])
    text.write_bytes(os.urandom(5000))
    cut.write_bytes(good.read_bytes()[:8192])
    os.mkfifo(pipe)
    for path, message in (
        (empty, "empty file"),
        (short, "not a SQLite database"),
        (text, "encrypted"),
        (cut, "truncated"),
        (pipe, "is not a file"),
        (tmp_path, "is not a file"),
        (Path("/dev/null"), "is not a file"),
        (tmp_path / "missing", "No such file"),
        (tmp_path / "a\0b", "NUL|null"),
    ):
        with pytest.raises(StoreUnavailable, match=message):
            LegacyDatabase(str(path))
    if os.geteuid():
        good.chmod(0)
        with pytest.raises(StoreUnavailable, match="permission"):
            LegacyDatabase(str(good))


def test_a_link_to_a_database_is_followed(tmp_path: Path) -> None:
    source = made(tmp_path / "src" / "orb.db", "wal")
    (tmp_path / "current.db").symlink_to(source)
    assert new(tmp_path / "current.db", "--no-backup") == (0, 3)
    assert [one.name for one in source.parent.iterdir()] == ["orb.db"]


@pytest.mark.slow
def test_a_damaged_page_ends_the_import_and_keeps_what_came_before(tmp_path: Path) -> None:
    source = made(tmp_path / "src" / "orb.db", rows=10_000)
    data = bytearray(source.read_bytes())
    page = int.from_bytes(data[16:18], "big")
    at = len(data) // page * 3 // 4 * page
    for start in range(at, at + 40 * page, page):
        data[start : start + 8] = b"\xff" * 8
    source.write_bytes(data)
    code, report = run("import_orb_database", source, "--no-backup", "--only", "te")
    told = report["findings"][0]["message"]
    assert code == 2
    assert "te_reflections" in told
    assert "malformed" in told
    assert "kept" in told
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM te_reflections")
        assert 0 < cursor.fetchone()[0] < 10_000
    assert Run.objects.get().state == RunState.FAILED


ENDLESS = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x)"
COLUMNS = "id, user_id, session_id, input, output, tags, notes, created_at"
VIEW = f"CREATE VIEW te_reflections({COLUMNS}) AS {ENDLESS} SELECT n, n, n, n, n, n, n, n FROM x"


def disguised(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE decoy (id)")
        connection.execute(VIEW)
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


@pytest.mark.parametrize(
    "statements",
    [
        ["UPDATE sqlite_master SET type = 'table' WHERE name = 'te_reflections'"],
        ["UPDATE sqlite_master SET type = 'table', name = 'decoy_2' WHERE name = 'te_reflections'"],
        [
            "UPDATE sqlite_master SET name = 'x' WHERE name = 'te_reflections'",
            "UPDATE sqlite_master SET name = 'te_reflections' WHERE name = 'decoy'",
        ],
        [
            "UPDATE sqlite_master SET type = 'index', name = 'x' WHERE name = 'te_reflections'",
            "UPDATE sqlite_master SET name = 'te_reflections', sql = 'CREATE TABLE te_reflections_2(id)' WHERE name = 'decoy'",
        ],
    ],
)
def test_a_view_that_is_disguised_as_a_table_is_refused(tmp_path: Path, statements: list[str]) -> None:
    source = disguised(tmp_path / "old.db", *statements)
    with pytest.raises(StoreUnavailable, match="edited|malformed database schema"):
        LegacyDatabase(str(source))


@pytest.mark.parametrize(
    "create",
    [
        VIEW,
        f"CREATE VIRTUAL TABLE te_reflections USING fts5({COLUMNS})",
        f"CREATE VIEW TE_REFLECTIONS AS SELECT * FROM (VALUES ('a', {ROW}))",
    ],
)
def test_views_and_virtual_tables_are_no_tables(tmp_path: Path, create: str) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.execute(create)
    code, report = run("import_orb_database", tmp_path / "old.db", "--no-backup", "--only", "te")
    assert (code, report["domains"]["te"]["read"]) == (0, 0)
    assert "there is no table te_reflections" in [one["message"] for one in report["findings"]]


def test_only_plain_reads_of_plain_tables_are_allowed(tmp_path: Path) -> None:
    source = made(tmp_path / "orb.db")
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE VIEW v AS SELECT * FROM te_reflections")
    with LegacyDatabase(str(source)) as origin:
        connection = origin._tables._connection  # type: ignore[union-attr]
        for statement in (
            "SELECT * FROM v",
            "SELECT hex(id) FROM te_reflections",
            f"{ENDLESS} SELECT n FROM x",
            "SELECT name FROM sqlite_master",
            "PRAGMA journal_mode",
            "ATTACH ':memory:' AS other",
            "DELETE FROM te_reflections",
            "CREATE TABLE t (x)",
            "SELECT load_extension('x')",
        ):
            with pytest.raises(sqlite3.DatabaseError, match="not authorized|prohibited|not allowed|too many"):
                connection.execute(statement)
        assert origin.expected(TE)[0] == 3


class Stopping(Progress):
    is_stopping = False


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table whose statements are looked after at each instruction."""
    source = made(tmp_path / "orb.db", rows=10)
    monkeypatch.setattr(sqlite_source, "_INSTRUCTIONS", 1)
    return source


def test_a_wish_to_stop_ends_a_statement(slow: Path) -> None:
    progress = Stopping()
    with LegacyDatabase(str(slow), progress) as origin:
        progress.is_stopping = True
        with pytest.raises(Stopped):
            origin.expected(TE)
        with pytest.raises(Stopped):
            list(origin.entries(TE))


def test_a_statement_has_a_deadline(slow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LegacyDatabase(str(slow)) as origin:
        monkeypatch.setattr(sqlite_source, "DEADLINE", -1.0)
        with pytest.raises(StoreUnavailable, match="seconds"):
            list(origin.entries(TE))


@pytest.mark.slow
def test_an_interrupt_ends_an_import_and_it_goes_on_from_there(tmp_path: Path) -> None:
    source = made(tmp_path / "orb.db", rows=50_000)

    class AfterAWhile(Progress):
        def __call__(self, records: int) -> None:
            self.is_stopping = True

    with pytest.raises(KeyboardInterrupt):
        import_database([TE], str(source), now=utc_now, progress=AfterAWhile())
    assert Run.objects.get().state == RunState.INTERRUPTED
    report = import_database([TE], str(source), now=utc_now)
    assert report.domains["te"].total("new") == 50_000
    assert Run.objects.get().state == RunState.COMPLETE


SECRET = "s3cr%t/p@ss word"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://ana:hunter2@localhost:1/x", "postgresql://localhost:1/x"),
        ("postgres://localhost:1/x?user=ana&password=hunter2", "postgres://localhost:1/x"),
        (
            "postgresql://localhost:1/x?password=hunter2&connect_timeout=2",
            "postgresql://localhost:1/x?connect_timeout=2",
        ),
        ("postgresql://localhost:1/x?PASSWORD=hunter2", "postgresql://localhost:1/x"),
        ("postgresql://localhost:1/x?sslpassword=hunter2", "postgresql://localhost:1/x"),
        ("postgresql:///x?host=localhost&port=1&pass%77ord=hunter2", "postgresql:///x?host=localhost&port=1"),
        ("host=localhost port=1 dbname=x user=ana password=hunter2", "dbname=x host=localhost port=1"),
        ("host=localhost port=1 dbname=x password = 'hunter2'", "dbname=x host=localhost port=1"),
        ("postgresql://ana:hunter2/hunter2@localhost:1/x", "postgresql://localhost:1/x"),
        ("postgresql://ana:hunter2?hunter2@localhost:1/x", "postgresql://localhost:1/x"),
        ("postgresql://ana:hunter2%zz@localhost:1/x", "postgresql://localhost:1/x"),
        ("mysql://ana:hunter2@localhost:1/x", "mysql://localhost:1/x"),
        ("mysql://localhost:1/x?password=hunter2", "mysql://localhost:1/x"),
        ("sqlite:///missing.db?password=hunter2", "sqlite:///missing.db"),
        ("host=localhost bogus=1 password=hunter2", ""),
        ("password=hunter2", ""),
    ],
)
def test_no_message_and_no_name_holds_a_password(url: str, name: str) -> None:
    code, report = run("import_orb_database", url)
    assert code == 2
    assert "hunter2" not in report["findings"][0]["message"]
    assert name in report["findings"][0]["message"]


def test_a_driver_that_repeats_an_address_is_masked() -> None:
    address = Address("postgresql://ana:hunter2@localhost/x?application_name=a")
    for told in (
        "invalid dsn: postgresql://ana:hunter2@localhost/x?application_name=a",
        "could not connect: user=ana password=hunter2 host=x",
        "could not connect: password='hun\\'ter' sslpassword=abc",
    ):
        masked = address.masked(told)
        assert "hunter2" not in masked
        assert "hun" not in masked
        assert "abc" not in masked


def test_a_database_in_postgresql_is_named_by_keywords_too(postgresql_alias: str) -> None:
    settings = connections[postgresql_alias].settings_dict
    url = "host={HOST} port={PORT} user={USER} dbname=postgres password=hunter2".format(**settings)
    code, report = run("import_orb_database", url, "--no-backup", "--only", "te")
    assert (code, report["domains"]["te"]["read"]) == (0, 0)
    assert Run.objects.get().source == "dbname=postgres host={HOST} port={PORT}".format(**settings)


def test_a_terminated_command_ends_in_a_statement(tmp_path: Path) -> None:
    source = made(tmp_path / "orb.db", rows=10)
    command = (
        "import django, signal, sqlite3, sys; django.setup()\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts beside itself\n"
        "from orbsite.operations.migration.databases import sqlite_source\n"
        "from orbsite.operations.migration.databases.database_source import LegacyDatabase\n"
        "class Slow(sqlite_source.SqliteSource):\n"
        "    def count(self, table):\n"
        "        self._connection.set_authorizer(None); print('ready', flush=True)\n"
        f"        return self._one(table, '{ENDLESS} SELECT count(*) FROM x')[0]\n"
        "from te.domain import DOMAIN\n"
        "from orbsite.operations.migration.databases import database_source\n"
        "database_source.SqliteSource = Slow\n"
        "LegacyDatabase(sys.argv[1]).expected(DOMAIN)\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    process = subprocess.Popen(
        [sys.executable, "-c", command, str(source)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    killer = threading.Timer(240, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    finally:
        killer.cancel()
        process.kill()
        process.communicate()
    assert process.returncode != -signal.SIGKILL
    assert b"Stopped" in told or b"KeyboardInterrupt" in told
