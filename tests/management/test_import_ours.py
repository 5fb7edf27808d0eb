"""A database of this product as the source of an import."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from orbsite.models.user_keys import UserKey
from orbsite.operations.files.export import document_of
from orbsite.storage.base.snapshot import snapshots
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import registered
from orbsite.stores import open_sql_store
from tests.management.test_commands import run
from tests.management.test_import_sources import TABLE
from tests.support.factories import ObjectProfileFactory, ReflectionFactory
from tests.support.own_databases import own_database

ROOT = Path(__file__).parents[2]
DOMAINS = ("luna", "te")


def tree() -> dict[str, Any]:
    item = {"input": "in", "output": "out", "tags": ["a"], "createdAt": "2024-01-01T00:00:00.120Z"}
    reflections = {
        "sessions": {
            "s": [
                item | {"id": "third", "score": 7, "nested": {"a": [1, 0.5, None]}, "extra": "own", "digest": "x"},
                item | {"id": "first", "notes": None},
                item | {"id": "second", "recommendations": [], "run_id": 1, "position": "left"},
            ]
        },
        "userSessions": {"zoe": ["s"]},
    }
    profile = {"userId": "zoe", "preferences": ["calm"], "constraints": [], "updatedAt": "2024-01-01T00:00:00.000Z"}
    profiles = {
        "zoe": {
            "activeMode": "work",
            "profiles": {
                "mars": profile | {"modeId": "mars", "id": "of a profile"},
                "work": profile | {"modeId": "work", "preferences": {"a": {"b": 1}}, "constraints": {"c": [2]}},
            },
        }
    }
    return {"te/reflections.json": reflections, "luna/profiles.json": profiles}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    base = tmp_path / "data"
    for name, content in tree().items():
        (base / name).parent.mkdir(mode=0o700, parents=True)
        (base / name).write_text(json.dumps(content))
        (base / name).chmod(0o600)
    base.chmod(0o700)
    return base


def digests() -> dict[tuple[str, ...], str]:
    stores = [open_sql_store(domain) for domain in registered(DOMAINS)]
    return {
        (kind.plural, *record.key): digest(record)
        for store in stores
        for kind in store.domain.kinds
        for record in store.walk(kind)
    }


def exported() -> dict[str, Any]:
    stores = [open_sql_store(domain) for domain in registered(DOMAINS)]
    with snapshots(stores) as taken:
        return {one.domain.name: json.loads(document_of(one)) for one in taken}


def emptied(alias: str = "default") -> None:
    for domain in registered(DOMAINS):
        for model in domain.models.values():
            model._base_manager.using(alias).all().delete()


@pytest.mark.django_db(transaction=True)
def test_a_database_of_ours_in_sqlite_comes_over_equal(written: Path, tmp_path: Path) -> None:
    code, _ = run("migrate_orb_files", "--data-dir", written, "--no-backup")
    assert code == 0
    before, files = digests(), exported()
    connection = connections["default"]
    connection.ensure_connection()
    with closing(sqlite3.connect(tmp_path / "ours.db")) as copy:
        connection.connection.backup(copy)
    emptied()
    code, report = run("import_orb_database", tmp_path / "ours.db", "--no-backup", "--only", "luna", "--only", "te")
    assert (code, [one for one in report["findings"] if one["severity"] == "error"]) == (0, [])
    assert digests() == before
    assert exported() == files
    code, again = run("import_orb_database", tmp_path / "ours.db", "--no-backup", "--only", "luna", "--only", "te")
    assert (code, [again["domains"][name]["unchanged"] for name in DOMAINS]) == (0, [3, 3])


def copied(path: Path) -> Path:
    connection = connections["default"]
    connection.ensure_connection()
    with closing(sqlite3.connect(path)) as copy:
        connection.connection.backup(copy)
    return path


@pytest.mark.django_db(transaction=True)
def test_texts_that_look_sealed_come_over_and_sealed_ones_are_refused(tmp_path: Path, settings: Any) -> None:
    te, luna = (open_sql_store(domain) for domain in reversed(registered(DOMAINS)))
    te.put([ReflectionFactory(id="odd", user_id="ana", session_id="s", input="orb:sealed:1:AA", notes="orb:plain:1:")])
    luna.put([ObjectProfileFactory(user_id="ana", mode_id="m", preferences={"orb:plain:1": "x"}, constraints={})])
    before = digests()
    plain = copied(tmp_path / "plain.db")
    emptied()
    arguments = ("--no-backup", "--only", "luna", "--only", "te")
    assert run("import_orb_database", plain, *arguments)[0] == 0
    assert digests() == before
    emptied()
    settings.ORB_KEYS = f"k:{base64.b64encode(bytes(range(32))).decode()}"
    te.put([ReflectionFactory(id="r", user_id="ana", session_id="s", input="canary")])
    luna.put([ObjectProfileFactory(user_id="ana", mode_id="m", preferences={"a": "canary"}, constraints={})])
    sealed = copied(tmp_path / "sealed.db")
    emptied()
    UserKey.objects.all().delete()  # the database that it is imported into was never sealed
    settings.ORB_KEYS = ""
    code, report = run("import_orb_database", sealed, *arguments)
    assert (code, digests()) == (1, {})
    assert [report["domains"][name]["rejected"] for name in DOMAINS] == [1, 1]
    assert all("it is sealed: export it" in one["message"] for one in report["findings"])


@pytest.fixture
def postgresql_source(postgresql_alias: str) -> Iterator[str]:
    """The address of a database with our tables, which are empty."""
    with own_database() as url:
        environment = {"PATH": "/usr/bin:/bin", "DEBUG": "true", "SECRET_KEY": "x", "DATABASE_URL": url}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
        yield url


@pytest.mark.django_db
def test_a_database_of_ours_in_postgresql_comes_over_equal(written: Path, postgresql_source: str) -> None:
    run("migrate_orb_files", "--data-dir", written, "--no-backup")
    before, files = digests(), exported()
    emptied()
    place = postgresql_source.replace("postgresql://", "postgres://")
    environment = {"PATH": "/usr/bin:/bin", "DEBUG": "true", "SECRET_KEY": "x", "DATABASE_URL": place}
    arguments = [sys.executable, "manage.py", "migrate_orb_files", "--data-dir", str(written), "--no-backup"]
    subprocess.run(arguments, cwd=ROOT, env=environment, check=True, capture_output=True)
    code, _ = run("import_orb_database", postgresql_source, "--no-backup", "--only", "luna", "--only", "te")
    assert code == 0
    assert digests() == before
    assert exported() == files


@pytest.mark.django_db
def test_a_column_of_a_stranger_is_an_unknown_key_where_the_table_is_not_ours(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.execute(TABLE)
        connection.execute("ALTER TABLE te_reflections ADD COLUMN digest TEXT")
        connection.execute("ALTER TABLE te_reflections ADD COLUMN extra TEXT")
        connection.execute(
            "INSERT INTO te_reflections VALUES ('a', 'ana', 's', 'i', 'o', '[]', NULL, '2024-01-01T00:00:00Z', 'd', '{\"e\": 1}')"
        )
        connection.commit()
    run("import_orb_database", tmp_path / "old.db", "--no-backup", "--only", "te")
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT extra FROM te_reflections")
        assert json.loads(cursor.fetchone()[0]) == {"digest": "d", "extra": {"e": 1}}


def _peak(source: Path, target: Path) -> int:
    """Return the most bytes that an import of a source has in memory."""
    command = (
        "import resource, sys, django; django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('migrate', verbosity=0)\n"
        "call_command('import_orb_database', sys.argv[1], '--only', 'te', '--no-backup', stdout=sys.stderr)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "DEBUG": "true",
        "SECRET_KEY": "x",
        "DATABASE_URL": f"sqlite:///{target}",
        "DJANGO_SETTINGS_MODULE": "orbsite.settings",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", command, str(source)],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout) * 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    peaks = []
    for rows in (300, 1500):
        source = tmp_path / f"{rows}.db"
        with closing(sqlite3.connect(source)) as connection:
            connection.execute(TABLE)
            text = "word " * 20_000
            connection.executemany(
                "INSERT INTO te_reflections VALUES (?, 'ana', 's', ?, 'o', '[]', NULL, '2024-01-01T00:00:00Z')",
                ((f"r{at}", text) for at in range(rows)),
            )
            connection.commit()
        peaks.append(_peak(source, tmp_path / f"{rows}-target.db"))
        source.unlink()
    assert peaks[1] - peaks[0] < 60 << 20, f"{[peak >> 20 for peak in peaks]} MiB for 30 and 150 MB"
