"""The form of an operation says from where to where, what is there, what has changed, and how long it will take."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from orbsite.admin.jobs.outlook import database_address, outlook
from orbsite.models.ledger import Run
from orbsite.operations.jobs import catalog
from orbsite.operations.jobs.parameters import Storage
from orbsite.operations.statistics import figures
from orbsite.persistence import migrate_all_file_to_sql
from orbsite.storage.clock import utc_now
from orbsite.storage.file.store import FileStore
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from tests.admin.starting import confirm, staff_client, words
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db
QUERIES = 36
"""Who it is, both stores' counts as on the dashboard, the last run, and the last durations."""
BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def place(settings: Any, files: Path, tmp_path: Path) -> Path:
    settings.ORB_DATA_DIR, settings.ORB_BACKUP_DIR = files, tmp_path / "backups"
    settings.ORB_PERSISTENCE = "sql"
    return files


@pytest.fixture
def somebody() -> User:
    return User.objects.create_superuser("ada", password="x")


def changes(user: User, name: str = "migrate") -> dict[str, str]:
    found = outlook(catalog.OPERATIONS[name], user, utc_now())
    return {one.domain: one.changes for one in found.contents if one.store == "files" and one.domain in ("luna", "te")}


def test_a_migration_says_where_it_reads_and_writes_and_what_is_there(place: Path, admin_client: Client) -> None:
    page = words(admin_client.get(reverse("admin:operation", args=["migrate"])))
    assert f"Reads the JSON files in {place} Writes the SQLite database " in page
    assert "luna files 72 profiles, 15 active modes" in page
    assert "te files 142 reflections" in page
    assert "te SQL 0 reflections" in page
    assert "not read by any run yet" in page
    assert "There is no estimate" in page


def test_a_database_is_shown_without_user_and_password() -> None:
    known = {"NAME": "orb", "HOST": "db", "PORT": 5433, "USER": "olga", "PASSWORD": "s3cret"}
    assert database_address("postgresql", known) == "the PostgreSQL database orb on db:5433"
    assert (
        database_address("postgresql", known | {"HOST": "", "PORT": ""})
        == "the PostgreSQL database orb on this machine"
    )


def test_what_has_changed_since_the_last_run_is_told(place: Path, somebody: User) -> None:
    migrate_all_file_to_sql(place)
    number = Run.objects.get().pk
    assert changes(somebody) == dict.fromkeys(("luna", "te"), f"unchanged since run {number}, just now")
    path = place / "te" / "reflections.json"
    path.write_text(path.read_text().replace("note", "memo", 1))
    assert changes(somebody)["te"] == f"changed since run {number}, just now"
    assert changes(somebody)["luna"] == f"unchanged since run {number}, just now"
    assert changes(somebody, "validate") == changes(somebody)
    path.unlink()
    assert changes(somebody)["te"] == "no file"


def test_a_run_over_another_directory_or_one_that_was_rolled_back_is_no_run(place: Path, somebody: User) -> None:
    migrate_all_file_to_sql(place)
    for values in ({"source": "/elsewhere"}, {"source": os.fspath(place), "state": "rolled back"}):
        Run.objects.update(**values)
        assert set(changes(somebody).values()) == {"not read by any run yet"}


def test_a_large_file_is_not_read(place: Path, somebody: User, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate_all_file_to_sql(place)
    monkeypatch.setattr(figures, "SMALL_BYTES", 10)
    monkeypatch.setattr(FileStore, "snapshot", lambda self: pytest.fail("the file was read"))
    found = outlook(catalog.Validate, somebody, utc_now())
    assert {one.counts for one in found.contents if one.domain in ("luna", "te")} == {
        "too large to be counted by this page; maintenance counts it once a day"
    }
    assert changes(somebody)["te"].startswith("unchanged since run")
    os.utime(place / "te" / "reflections.json", (2e9, 2e9))
    assert changes(somebody)["te"].startswith("changed since run")


def test_the_time_follows_from_the_speed_of_earlier_runs(place: Path, somebody: User) -> None:
    for read, seconds in ((1000, 10), (1290, 0)):
        Run.objects.create(
            operation="migrate",
            state="complete",
            started_at=BEGIN,
            finished_at=BEGIN + timedelta(seconds=seconds),
            counts={"te": {"reflections": {"read": read}}},
        )
    assert outlook(catalog.Migrate, somebody, utc_now()).duration == "About 1 second, at the speed of the last 2 runs."
    (place / "te" / "reflections.json").write_text("{")
    assert outlook(catalog.Migrate, somebody, utc_now()).duration == "About 5 seconds, as long as the last 2 runs took."


def test_somebody_who_may_not_see_the_records_is_told_no_numbers(place: Path) -> None:
    client = staff_client("start_migrate")
    page = words(client.get(reverse("admin:operation", args=["migrate"])))
    assert "Reads the JSON files in" in page
    assert "What is there now" not in page
    partly = staff_client("start_migrate", "view_reflectionrow", name="otto")
    page = words(partly.get(reverse("admin:operation", args=["migrate"])))
    assert "142 reflections" in page
    assert "profiles" not in page
    assert "by any run" not in page


@pytest.mark.parametrize("name", catalog.OPERATIONS)
def test_every_operation_says_what_it_reads(name: str, admin_client: Client) -> None:
    confirm(admin_client)
    kind = catalog.OPERATIONS[name]
    assert kind.reads
    assert set(kind.reads) | set(kind.writes) <= set(Storage)
    assert " What it will do Reads " in words(admin_client.get(reverse("admin:operation", args=[name])))


def test_an_export_reads_the_store_in_use(settings: Any, somebody: User) -> None:
    assert outlook(catalog.Export, somebody, utc_now()).sources[0].startswith("the SQLite database ")
    settings.ORB_PERSISTENCE = "file"
    assert outlook(catalog.Export, somebody, utc_now()).sources[0].startswith("the JSON files in ")


def test_the_form_asks_the_same_however_much_there_is(
    place: Path, admin_client: Client, django_assert_num_queries: Any
) -> None:
    address = reverse("admin:operation", args=["migrate"])
    migrate_all_file_to_sql(place)
    with django_assert_num_queries(QUERIES):
        admin_client.get(address)
    SqlStore(TE).put(ReflectionFactory.build_batch(300))
    with django_assert_num_queries(QUERIES):
        admin_client.get(address)
