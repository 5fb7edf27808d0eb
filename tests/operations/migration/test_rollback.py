"""A rollback undoes its own run alone, by a number that no other database has, and counts as if it was never stopped."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from luna.models import ProfileRow
from orbsite.models.ledger import Change, Run, new_uid
from orbsite.operations.ledger import tombstones
from orbsite.operations.ledger.change_log import ChangeLog
from orbsite.operations.ledger.tombstones import undo
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.migration.rollback import rollback
from orbsite.operations.records.sanitize import sanitize
from orbsite.operations.retention.apply import retain
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import registered
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import open_sql_store
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.management.test_commands import run as command
from tests.operations.retention.test_killed_retention import database, unblocked  # noqa: F401 -- a fixture
from tests.support.factories import ReflectionFactory

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
in_a_test_database = pytest.mark.django_db(transaction=True)


def now() -> datetime:
    return NOW


def reflections(base: Path, *names: str, notes: str = "") -> Path:
    items = [
        {
            "id": name,
            "input": "i",
            "output": "o",
            "tags": [],
            "createdAt": "2024-01-01T00:00:00.000Z",
            **({"notes": notes} if notes else {}),
        }
        for name in names
    ]
    (base / "te").mkdir(parents=True, exist_ok=True, mode=0o700)
    base.chmod(0o700)
    path = base / "te/reflections.json"
    path.write_text(json.dumps({"sessions": {"s": items}, "userSessions": {"ana": ["s"]}}))
    path.chmod(0o600)
    return base


def migrated(base: Path) -> int:
    number = migrate(registered(["te"]), base, now=now).run
    assert number is not None
    return number


def ids() -> set[str]:
    return set(ReflectionRow.objects.values_list("id", flat=True))


def made_anew() -> None:
    """Empty the ledger, whose numbers begin at 1 again, as in another database."""
    Change.objects.all().delete()
    Run.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM sqlite_sequence WHERE name = 'orb_runs'")


def counts(number: int | None) -> dict[str, int]:
    found = Run.objects.get(pk=number).counts["te"]["reflections"]
    return {what: count for what, count in found.items() if count}


@in_a_test_database
@pytest.mark.parametrize("way", ["the ledger is made anew", "dumped and loaded", "dumped and loaded with its ledger"])
def test_rows_that_came_from_another_database_are_not_a_runs(way: str, tmp_path: Path) -> None:
    made_anew()
    assert migrated(reflections(tmp_path / "data", "r1", "r2", "r3")) == 1
    if way != "the ledger is made anew":
        apps = ["luna", "te"] if way == "dumped and loaded" else ["luna", "te", "orbsite.run", "orbsite.change"]
        call_command("dumpdata", *apps, output=str(tmp_path / "dump.json"))
        ReflectionRow.objects.all().delete()
    made_anew()
    if way != "the ledger is made anew":
        call_command("loaddata", str(tmp_path / "dump.json"), verbosity=0)
    number = migrated(reflections(tmp_path / "data", "one"))
    assert number == (2 if "with its ledger" in way else 1)
    assert (ids(), ReflectionRow.objects.values("run_id").distinct().count()) == ({"r1", "r2", "r3", "one"}, 2)
    looked = rollback(number, registered(), now=now, dry_run=True)
    assert (looked.domains["te"].total("removed"), looked.domains["te"].total("kept")) == (1, 0)
    done = rollback(number, registered(), now=now)
    assert (done.domains["te"].total("removed"), done.ok, ids()) == (1, True, {"r1", "r2", "r3"})
    if "with its ledger" in way:
        assert rollback(1, registered(), now=now).domains["te"].total("removed") == 3
        assert ids() == set()


@in_a_test_database
@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--force",), ("--only", "te")])
def test_more_rows_than_the_run_wrote_stop_the_rollback(options: tuple[str, ...], tmp_path: Path) -> None:
    number = migrated(reflections(tmp_path / "data", "r1", "r2"))
    uid = Run.objects.get(pk=number).uid
    open_sql_store(TE).put([ReflectionFactory(id="theirs")])
    ReflectionRow.objects.filter(id="theirs").update(run_id=uid)
    code, report = command("rollback_orb_migration", number, *options)
    (message,) = [finding["message"] for finding in report["findings"]]
    assert code == 2
    assert f"run {number} wrote 2 reflections, but 3 rows carry its number" in message
    assert f"run_id is {uid}" in message
    assert (ids(), Run.objects.count(), Run.objects.get().state) == ({"r1", "r2", "theirs"}, 1, "complete")
    ReflectionRow.objects.filter(id="theirs").update(run_id=None)
    assert command("rollback_orb_migration", number)[0] == 0
    assert ids() == {"theirs"}


@in_a_test_database
def test_rows_of_a_kind_that_the_run_wrote_none_of_stop_it_too(tmp_path: Path) -> None:
    number = migrated(reflections(tmp_path / "data", "r1"))
    uid = Run.objects.get(pk=number).uid
    ProfileRow.objects.create(user_id="ana", mode_id="mars", preferences=[], constraints=[], updated_at=NOW)
    ProfileRow.objects.update(run_id=uid)
    with pytest.raises(OrbError, match="wrote 0 profiles, but 1 rows carry its number"):
        rollback(number, registered(), now=now)
    assert ids() == {"r1"}


@in_a_test_database
def test_fewer_rows_than_the_run_wrote_do_not_stop_it(tmp_path: Path) -> None:
    number = migrated(reflections(tmp_path / "data", "r1", "r2", "r3"))
    ReflectionRow.objects.filter(id="r1").delete()
    open_sql_store(TE).put([ReflectionFactory(id="r2", user_id="ana", session_id="s", input="edited")])
    assert rollback(number, registered(), now=now).domains["te"].total("removed") == 1
    assert ids() == {"r2"}


class Killed(BaseException):
    """Nothing of the process goes on."""


def killed_after(batches: int, patch: pytest.MonkeyPatch) -> None:
    """End whatever notes batches in the ledger after so many, without a word, as if it was killed."""
    note, left = ChangeLog.note, [batches]

    def counted(change_log: ChangeLog, *arguments: Any) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        note(change_log, *arguments)

    patch.setattr(ChangeLog, "note", counted)
    patch.setattr("orbsite.operations.ledger.runs._end_early", lambda *_: None)


@in_a_test_database
@pytest.mark.parametrize("seed", range(4))
def test_the_counts_of_a_rollback_that_is_killed_add_up(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    names = [f"r{at:03}" for at in range(40)]
    migrated(reflections(tmp_path / "data", *names[:12], notes="before"))
    number = migrated(reflections(tmp_path / "data", *names))
    for edited in ("r003", "r020", "r039"):
        ReflectionRow.objects.filter(id=edited).update(notes="edited")
    open_sql_store(TE).put([ReflectionFactory(id="r004", user_id="ana", session_id="s", input="saved again")])
    monkeypatch.setitem(SqlStore.written_by.__kwdefaults__ or {}, "page", 5)
    whole = {"removed": 26, "restored": 10, "kept": 4}
    kills = draw.randrange(1, 4)
    for _ in range(kills):
        with monkeypatch.context() as patch:
            killed_after(draw.randrange(1, 3), patch)
            with pytest.raises(Killed):
                rollback(number, registered(["te"]), now=now)
    stopped = Run.objects.get(operation="rollback")
    assert stopped.state == "running"
    assert 0 < sum(counts(stopped.pk).values()) < 40
    report = rollback(number, registered(["te"]), now=now)
    assert report.run == stopped.pk
    assert counts(report.run) == {what: report.domains["te"].total(what) for what in whole} == whole
    assert len(report.domains["te"].findings) == whole["kept"]
    assert (Run.objects.get(pk=number).state, Run.objects.get(pk=report.run).state) == ("rolled back", "complete")


@in_a_test_database
def test_a_killed_rollback_that_is_forced_then_counts_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = migrated(reflections(tmp_path / "data", *(f"r{at}" for at in range(9))))
    ReflectionRow.objects.filter(id="r0").update(notes="edited")
    monkeypatch.setitem(SqlStore.written_by.__kwdefaults__ or {}, "page", 3)
    with monkeypatch.context() as patch:
        killed_after(2, patch)
        with pytest.raises(Killed):
            rollback(number, registered(["te"]), now=now)
    report = rollback(number, registered(["te"]), now=now, force=True)
    assert (counts(report.run), ids()) == ({"removed": 9}, set())


@in_a_test_database
@pytest.mark.parametrize("seed", range(3))
def test_the_counts_of_an_undo_that_is_killed_add_up(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(seed)
    store = open_sql_store(TE)
    old = [ReflectionFactory(id=f"r{at:02}", created_at=datetime(2020, 1, 1, tzinfo=UTC)) for at in range(20)]
    store.put(old)
    run = retain([store], Policy(max_age_days=30), now=now, force=True).run
    store.put([old[2], ReflectionFactory(id="r09"), ReflectionFactory(id="r19")])
    monkeypatch.setattr(tombstones, "_BATCH", 3)
    for _ in range(2):
        with monkeypatch.context() as patch:
            killed_after(draw.randrange(1, 3), patch)
            with pytest.raises(Killed):
                undo(str(run), [store], now=now)
    report = undo(str(run), [store], now=now)
    assert Run.objects.filter(operation="undo").count() == 1
    assert counts(report.run) == {"restored": 17, "present": 1, "kept": 2}
    assert store.count(Reflection) == 20


@in_a_test_database
def test_what_a_killed_sanitization_has_mended_is_in_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_sql_store(TE)
    store.put([ReflectionFactory(id=f"r{at}") for at in range(4)])
    ReflectionRow.objects.update(tags=["a", 1])
    monkeypatch.setattr("orbsite.operations.records.sanitize._PAGE", 2)
    rows, calls = SqlStore.rows, [0]

    def rows_once(self: SqlStore, *arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] > 1:
            raise Killed
        return rows(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SqlStore, "rows", rows_once)
        patch.setattr("orbsite.operations.ledger.runs._end_early", lambda *_: None)
        with pytest.raises(Killed):
            sanitize(registered(["te"]), now=now, apply=True)
    assert counts(Run.objects.get(operation="sanitize").pk)["mended"] == Change.objects.count() == 2


@in_a_test_database
def test_a_row_that_does_not_decode_is_kept_even_by_force_and_said_to_be(tmp_path: Path) -> None:
    number = migrated(reflections(tmp_path / "data", "r1", "r2"))
    ReflectionRow.objects.filter(id="r1").update(tags=["a", 1])
    report = rollback(number, registered(["te"]), now=now, force=True)
    assert (counts(report.run), ids()) == ({"removed": 1, "kept": 1}, {"r1"})
    (finding,) = report.domains["te"].findings
    assert "does not decode" in finding.message


def test_a_uid_is_far_above_every_primary_key_and_fits_a_column() -> None:
    found = {new_uid() for _ in range(1000)}
    assert len(found) == 1000
    assert all(1 << 62 <= one < 1 << 63 for one in found)
