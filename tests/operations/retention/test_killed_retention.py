"""Retention killed with -9 half way: what a policy keeps is there, what went lies in tombstones, the next run finishes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from psycopg.conninfo import conninfo_to_dict

from orbsite.models.ledger import Change, Run
from orbsite.operations.ledger.tombstones import undo
from orbsite.operations.retention.apply import retain
from orbsite.storage.file.tombstones import Tombstones
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import file_store
from te.domain import DOMAIN as TE
from te.records import Reflection
from te.retention import guides_policy
from tests.operations.retention.policies import NOW
from tests.operations.retention.test_retention import ago
from tests.support.factories import ReflectionFactory
from tests.support.own_databases import own_database
from tests.support.processes import ended
from tests.support.scratch import ALIAS, known_as, scratch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
OLD, YOUNG = 100, 20


def records() -> list[Reflection]:
    old = [
        ReflectionFactory(id=f"old-{at:03}", session_id=f"s-{at % 7}", created_at=ago(days=100)) for at in range(OLD)
    ]
    return [*old, *(ReflectionFactory(id=f"young-{at}", created_at=ago(days=1)) for at in range(YOUNG))]


def killed(kind: str, base: Path, where: str, *, after: int = 1, **environment: str) -> None:
    """Start retention, and kill it once it has said so often that it is there."""
    command = [sys.executable, "-m", "tests.support.policies", kind, str(base), where]
    usual = {**os.environ, "DJANGO_SETTINGS_MODULE": "orbsite.settings", "DEBUG": "true", **environment}
    pipe = subprocess.PIPE
    program = subprocess.Popen(command, cwd=ROOT, env=usual, stdin=pipe, stdout=pipe, text=True)
    with ended(program):
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == "here\n"
        for _ in range(after - 1):
            program.stdin.write("go on\n")
            program.stdin.flush()
            assert program.stdout.readline() == "here\n"


@pytest.mark.django_db
@pytest.mark.parametrize("where", ["tombstones", "document"])
def test_a_file_is_as_it_was_and_what_would_have_gone_lies_in_tombstones(tmp_path: Path, where: str) -> None:
    there = records()
    file_store(TE, tmp_path).put(there)
    before = (tmp_path / TE.file).read_bytes()
    killed("file", tmp_path, where)
    assert (tmp_path / TE.file).read_bytes() == before
    (name,) = Tombstones(tmp_path).names()
    assert len(list(Tombstones(tmp_path).read(name))) == OLD
    back = undo(name, [file_store(TE, tmp_path)], now=lambda: NOW).domains["te"].counts["reflections"]
    assert (back["present"], back["restored"], back["kept"]) == (OLD, 0, 0)
    report = retain([file_store(TE, tmp_path)], guides_policy(), now=lambda: NOW, force=True)
    assert report.domains["te"].total("removed") == OLD
    assert {one.id for one in file_store(TE, tmp_path).walk(Reflection)} == {one.id for one in there[OLD:]}
    undo(report.tombstones[0], [file_store(TE, tmp_path)], now=lambda: NOW)
    assert {one.key: one for one in file_store(TE, tmp_path).walk(Reflection)} == {one.key: one for one in there}


@contextmanager
def database(vendor: str, base: Path) -> Iterator[tuple[str, str]]:
    """Have a database of its own under an alias; yield that and its DATABASE_URL."""
    if vendor == "sqlite":
        url = f"sqlite:///{base / 'orb.sqlite3'}"
        manage(url, "manage.py", "migrate", "--verbosity", "0", "--skip-checks")
        with scratch(base / "orb.sqlite3", tables=False) as alias:
            yield alias, url
        return
    with own_database() as url:
        manage(url, "manage.py", "migrate", "--verbosity", "0", "--skip-checks")
        name = conninfo_to_dict(url)["dbname"]
        with known_as(ALIAS, {**connections["postgresql"].settings_dict, "NAME": name}):
            yield ALIAS, url


def manage(url: str, *command: str) -> None:
    """Run something of ours to its end over a database."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "orbsite.settings", "DEBUG": "true", "DATABASE_URL": url}
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True)


@pytest.fixture
def unblocked(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Let databases be used that are no test databases: other processes have to see what is in them."""
    with django_db_blocker.unblock():
        yield


@pytest.mark.usefixtures("unblocked")
@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
@pytest.mark.parametrize("after", [1, 4])
def test_between_batches_each_record_is_there_or_in_the_tombstones(vendor: str, after: int, tmp_path: Path) -> None:
    if vendor not in connections.databases and vendor != "sqlite":
        pytest.skip("there is no PostgreSQL server on this machine")
    there = {one.key: one for one in records()}
    with database(vendor, tmp_path) as (alias, url):
        store = SqlStore(TE, alias)
        store.put(there.values())
        killed("sql", tmp_path, "batches", after=after, DATABASE_URL=url)
        left = {one.key for one in store.walk(Reflection)}
        gone = {tuple(json.loads(key)) for key in Change.objects.using(alias).values_list("key", flat=True)}
        assert left | gone == set(there)
        assert not left & gone
        assert 10 * after <= len(gone) < OLD
        run = Run.objects.using(alias).get()
        assert run.counts["te"]["reflections"]["removed"] == len(gone)
        assert run.state == "running"
        manage(url, "-m", "tests.support.policies", "sql", str(tmp_path), "nothing")
        assert {one.id for one in store.walk(Reflection)} == {key for _, key in there if key.startswith("young")}
        states = list(Run.objects.using(alias).order_by("pk").values_list("state", flat=True))
        assert states == ["failed", "complete"]
        assert Change.objects.using(alias).count() == OLD
