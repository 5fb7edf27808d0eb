"""The command on a real cluster, in databases of their own. ORB_TEST_CITUS names one of the cluster's databases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg import conninfo

from tests.support import citus
from tests.support.serving import ROOT
from tests.support.time_limits import time_limit

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not citus.ADDRESS, reason=citus.MISSING)]
SECRET = "for-tests-alone-Yq3VbX7mWc9LkT2pRz8NsHd5GfJu4EaQwS6yDxB1"
SAMPLE = ROOT / "sample/.orb-data"
SPREAD = ["luna_active_modes", "luna_profiles", "orb_words", "te_reflections"]


class Database:
    """A database of the cluster with the sample in it."""

    def __init__(self, path: Path) -> None:
        self.name = f"orb_test_{uuid4().hex[:12]}"
        self._path = path

    def manage(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(**self.asked(*arguments, **environment), capture_output=True, text=True, check=False)

    def asked(self, *arguments: str, **environment: str) -> dict[str, Any]:
        known = conninfo.conninfo_to_dict(citus.ADDRESS)
        host, port = citus.coordinator()
        address = f"postgres://{known.get('user', '')}:{known.get('password', '')}@{host}:{port}/{self.name}"
        own = {"DATABASE_URL": address, "ORB_PERSISTENCE": "sql", "SECRET_KEY": SECRET, "DEBUG": "true"}
        places = {"ORB_DATA_DIR": str(SAMPLE), "ORB_BACKUP_DIR": str(self._path / "backups")}
        return {
            "args": [sys.executable, "manage.py", *arguments],
            "cwd": ROOT,
            "env": os.environ | own | places | {"DJANGO_SETTINGS_MODULE": "orbsite.settings"} | environment,
        }

    def scale(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        ended = self.manage("orb_scale_sql", "--engine", "citus", "--format", "json", *arguments)
        return ended.returncode, json.loads(ended.stdout)

    def rows(self, statement: str) -> list[Any]:
        with citus.session(self.name) as connection:
            return connection.execute(statement).fetchall()

    def run(self, statement: str) -> None:
        with citus.session(self.name) as connection:
            connection.execute(statement)

    @property
    def spread(self) -> list[str]:
        statement = "SELECT table_name::text FROM citus_tables WHERE citus_table_type = 'distributed' ORDER BY 1"
        return [name for (name,) in self.rows(statement)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path)
    with citus.session("postgres") as connection:
        connection.execute(f"CREATE DATABASE {made.name}")
    try:
        citus.extend(made.name)
        assert made.manage("migrate", "-v0").returncode == 0
        assert made.manage("migrate_orb_files", "--no-backup").returncode == 0
        yield made
    finally:
        citus.remove(made.name)


def test_the_tables_are_spread_and_every_record_is_there(database: Database) -> None:
    code, told = database.scale()
    assert (code, database.spread) == (0, [])
    assert len(told["domains"]["database"]["statements"]) == 14
    code, told = database.scale("--apply", "--shards", "8")
    assert code == 0, told
    assert database.spread == SPREAD
    assert database.rows("SELECT DISTINCT shard_count FROM citus_tables") == [(8,)]
    assert database.rows("SELECT count(DISTINCT colocation_id) FROM citus_tables") == [(1,)]
    assert database.manage("verify_orb_files").returncode == 0
    plan = database.rows("EXPLAIN SELECT * FROM te_reflections WHERE user_id = 'ana'")
    assert ("  Task Count: 1",) in plan
    again, told = database.scale("--apply")
    assert (again, told["domains"]["database"]["statements"]) == (0, [])


def test_the_check_compares_tables_and_setting(database: Database) -> None:
    check = ("check", "--database", "default")
    before = database.manage(*check, ORB_SQL_ENGINE="citus")
    assert before.returncode == 1
    assert "orb.E014" in before.stderr
    assert database.scale("--apply")[0] == 0
    assert "orb.E014" not in database.manage(*check, ORB_SQL_ENGINE="citus").stderr
    assert "orb.W005" in database.manage(*check).stderr


def test_a_killed_run_is_resumed(database: Database) -> None:
    number = database.rows("SELECT count(*) FROM te_reflections")
    stages = set()
    for seconds in (1.5, 2, 2.5, 3, 3.5, 4):
        run = subprocess.Popen(**database.asked("orb_scale_sql", "--engine", "citus", "--apply"), stdout=-3, stderr=-3)
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
        stages.add(len(database.spread))
        assert database.rows("SELECT count(*) FROM te_reflections") == number
    code, told = database.scale("--apply")
    assert code == 0, told
    assert database.spread == SPREAD
    assert database.manage("verify_orb_files").returncode == 0


def test_a_node_that_is_down_stops_it_before_anything_changes(database: Database) -> None:
    database.run("UPDATE pg_dist_node SET nodeport = 1 WHERE groupid = (SELECT max(groupid) FROM pg_dist_node)")
    code, told = database.scale("--apply")
    assert code == 1
    assert any("cannot be reached" in one["message"] for one in told["findings"])
    assert database.spread == []


def test_a_change_during_which_a_node_dies_is_resumed_when_it_is_back(database: Database) -> None:
    number = database.rows("SELECT count(*) FROM te_reflections")
    try:
        worker = citus.Worker.at(citus.workers()[-1])
    except FileNotFoundError:
        pytest.skip("the workers run on another machine, where no test can stop them")
    asked = database.asked("orb_scale_sql", "--engine", "citus", "--apply", "--format", "json")
    with subprocess.Popen(**asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None and not database.spread:
            time.sleep(0.02)
        worker.stop()
        try:
            told, _ = run.communicate(timeout=time_limit(60))
        finally:
            worker.start()
    assert run.returncode == 2, told
    message = json.loads(told)["findings"][0]["message"]
    assert "nothing of this step was kept; mend that, then run the command again" in message
    assert 0 < len(database.spread) < len(SPREAD)
    assert database.rows("SELECT count(*) FROM te_reflections") == number
    code, again = database.scale("--apply")
    assert code == 0, again
    assert database.spread == SPREAD
    assert database.manage("verify_orb_files").returncode == 0


def test_a_cluster_without_workers_stops_it(database: Database) -> None:
    database.run("SELECT citus_remove_node(nodename, nodeport) FROM pg_dist_node WHERE groupid > 0")
    code, told = database.scale("--apply")
    assert code == 1
    assert "citus_add_node" in told["findings"][0]["message"]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "ALTER TABLE luna_profiles DROP CONSTRAINT luna_profiles_pkey; "
            "SELECT create_distributed_table('luna_profiles', 'mode_id')",
            "distributed by mode_id",
        ),
        ("SELECT create_reference_table('orb_words')", "kind reference"),
        ("CREATE UNIQUE INDEX once ON te_reflections (id)", "once (id) lacks user_id"),
        ("CREATE TABLE notes (n bigint REFERENCES te_reflections (row_id))", "would cross nodes"),
    ],
)
def test_what_something_else_has_done_stops_it(database: Database, statement: str, message: str) -> None:
    database.run(statement)
    before = database.spread
    code, told = database.scale("--apply")
    assert code == 1
    assert any(message in one["message"].replace("kind distributed by", "distributed by") for one in told["findings"])
    assert database.spread == before


def test_an_open_migration_stops_it(database: Database) -> None:
    database.run("DELETE FROM django_migrations WHERE app = 'te'")
    code, told = database.scale("--apply")
    assert code == 2
    assert "run migrate first" in told["findings"][0]["message"]


def test_without_the_extension_it_says_what_to_do(tmp_path: Path) -> None:
    made = Database(tmp_path)
    with citus.session("postgres") as connection:
        connection.execute(f"CREATE DATABASE {made.name}")
    try:
        code, told = made.scale("--apply")
        assert code == 2
        assert "CREATE EXTENSION citus" in told["findings"][0]["message"]
    finally:
        citus.remove(made.name)
