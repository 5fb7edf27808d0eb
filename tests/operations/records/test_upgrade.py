"""Rows of version 0 are upgraded as one run of the ledger: previewed, interrupted, resumed and rolled back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from luna.domain import DOMAIN as LUNA
from luna.models import ActiveModeRow, ProfileRow
from luna.records import Profile
from orbsite.models.ledger import Change, Run, RunState
from orbsite.operations.files.export import export
from orbsite.operations.files.upgrade import upgrade_files
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.migration.rollback import rollback
from orbsite.operations.migration.verify import verify
from orbsite.operations.progress import Progress, Stopped
from orbsite.operations.records.upgrade import upgrade_rows
from orbsite.operations.report import Report
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import open_sql_store
from te.domain import DOMAIN as TE
from tests.management.test_commands import run as command
from tests.management.test_sealing_commands import OLD
from tests.operations.files.test_compact import profile, read, write
from tests.support.factories import ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def now() -> datetime:
    return NOW


def upgrade(**options: Any) -> Report:
    return upgrade_rows([LUNA, TE], now=now, **options)


def counts(report: Report) -> dict[str, int]:
    return {name: number for name, number in report.domains["luna"].counts["profiles"].items() if number}


def rows() -> dict[str, Any]:
    names = ("constraints", "updated_at", "run_id", "digest", "extra", "position")
    return {one["mode_id"]: tuple(one[name] for name in names) for one in ProfileRow.objects.values("mode_id", *names)}


def texts() -> list[str]:
    lists = {mode: row[0] for mode, row in rows().items() if isinstance(row[0], list)}
    return sorted(mode for mode, held in lists.items() if any(isinstance(one, str) for one in held))


@pytest.fixture
def store() -> SqlStore:
    """Five rows of version 0 and two current ones."""
    store = open_sql_store(LUNA)
    store.put([ProfileFactory(mode_id=f"old {n}", constraints=("calm", f"text {n}")) for n in range(5)])
    store.put([ProfileFactory(mode_id="new"), ProfileFactory(mode_id="objects", constraints={"a": 1})])
    open_sql_store(TE).put([ReflectionFactory()])
    return store


def test_rows_are_upgraded_with_what_they_were_in_the_ledger(store: SqlStore) -> None:
    before = rows()
    report = upgrade()
    assert counts(report) == {"read": 7, "unchanged": 2, "replaced": 5}
    after, run = rows(), Run.objects.get()
    assert (run.pk, run.operation, run.state) == (report.run, "upgrade", RunState.COMPLETE)
    assert after["old 1"][0] == [
        {"id": f"constraint-old 1-{n}", "type": "other", "active": True, "description": text}
        for n, text in enumerate(("calm", "text 1"))
    ]
    assert [row[1] for row in after.values()] == [row[1] for row in before.values()]
    assert {mode for mode, row in after.items() if row[2] == run.uid} == {f"old {n}" for n in range(5)}
    assert (after["new"], after["objects"]) == (before["new"], before["objects"])
    assert Change.objects.filter(run=run, kind="profiles").count() == 5
    assert counts(upgrade()) == {"read": 7, "unchanged": 7}


def test_a_rollback_brings_the_rows_back_as_they_were(store: SqlStore, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    write(tmp_path / "data", LUNA, {"bo": {"profiles": {"m": profile("bo", "m", constraints=["calm"])}}})
    migrate([LUNA], tmp_path / "data", now=now)
    before = rows()
    number = upgrade().run
    assert texts() == []
    assert number is not None
    store.put([ProfileFactory(mode_id="old 1", preferences=("changed since",))])
    report = rollback(number, [LUNA, TE], now=now)
    assert counts(report) == {"restored": 5, "kept": 1}
    assert {mode: row for mode, row in rows().items() if mode != "old 1"} == {
        mode: row for mode, row in before.items() if mode != "old 1"
    }
    assert before["m"][2] is not None
    assert Run.objects.get(pk=number).state == RunState.ROLLED_BACK


def test_sealed_rows_are_upgraded_and_rolled_back_sealed(settings: Any) -> None:
    settings.ORB_KEYS = OLD
    store = open_sql_store(LUNA)
    before = [ProfileFactory(mode_id=f"old {n}", constraints=("a canary",)) for n in range(3)]
    store.put(before)
    number = upgrade().run
    assert number is not None
    assert [one.constraints[0].description for one in store.walk(Profile)] == ["a canary"] * 3
    with connection.cursor() as cursor:
        cursor.execute("SELECT constraints FROM luna_profiles UNION ALL SELECT before FROM orb_changes")
        held = [str(text) for (text,) in cursor.fetchall()]
    assert (len(held), [text for text in held if "canary" in text]) == (6, [])
    rollback(number, [LUNA], now=now)
    assert list(store.walk(Profile)) == before


def test_a_dry_run_counts_and_writes_nothing(store: SqlStore) -> None:
    before = rows()
    assert counts(upgrade(dry_run=True)) == {"read": 7, "unchanged": 2, "replaced": 5}
    assert (rows(), Run.objects.count(), Change.objects.count()) == (before, 0, 0)


class _Once(Progress):
    """Asks to stop after the first batch, or fails there."""

    def __init__(self, act: Callable[[], None] = lambda: None, *, dies: bool = False) -> None:
        self._act, self._dies = act, dies

    def __call__(self, records: int) -> None:
        if self._dies:
            raise RuntimeError("the worker was killed")
        self.is_stopping = True
        self._act()


@pytest.mark.parametrize("dies", [False, True])
def test_an_interrupted_run_is_resumed_as_the_same_run_and_rolled_back_as_a_whole(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    before = rows()
    monkeypatch.setattr("orbsite.operations.records.upgrade._PAGE", 4)
    with pytest.raises(RuntimeError if dies else Stopped):
        upgrade(progress=_Once(dies=dies))
    first = 5 - len(texts())
    assert 0 < first < 5
    assert Run.objects.get().state == (RunState.FAILED if dies else RunState.INTERRUPTED)
    report = upgrade()
    assert counts(report) == {"read": 7, "unchanged": 2, "replaced": 5}
    assert (texts(), Run.objects.count(), Change.objects.count()) == ([], 1, 5)
    rollback(Run.objects.get().pk, [LUNA], now=now)
    assert rows() == before


def test_a_row_saved_in_the_old_form_again_meanwhile_is_kept_until_the_next_run(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbsite.operations.records.upgrade._PAGE", 4)
    with pytest.raises(Stopped):
        upgrade(progress=_Once())
    again = next(mode for mode in (f"old {n}" for n in range(5)) if mode not in texts())
    store.put([ProfileFactory(mode_id=again, constraints=("again",))])
    report = upgrade()
    assert counts(report)["kept"] == 1
    assert texts() == [again]
    assert report.ok
    (finding,) = report.domains["luna"].findings
    assert "run the upgrade again" in finding.message
    assert counts(upgrade())["replaced"] == 1
    assert texts() == []


def test_a_row_that_does_not_decode_is_rejected_and_the_others_are_upgraded(store: SqlStore) -> None:
    ProfileRow.objects.filter(mode_id="old 2").update(preferences=["a", 1])
    report = upgrade()
    assert counts(report) == {"read": 7, "unchanged": 2, "replaced": 4, "rejected": 1}
    assert (report.exit_code, texts()) == (1, ["old 2"])
    assert ["old 2" in one.path for one in report.domains["luna"].findings] == [True]


def test_files_and_rows_that_are_both_upgraded_are_equal(data_dir: Path) -> None:
    write(data_dir, LUNA, {"ana": {"profiles": {"m": profile("ana", "m", constraints=["calm", "", "calm"])}}})
    migrate([LUNA], data_dir, now=now)
    upgrade()
    upgrade_files([LUNA], data_dir, now=now)
    assert verify([LUNA], data_dir, now=now).ok
    assert counts(migrate([LUNA], data_dir, now=now)) == {"read": 1, "unchanged": 1}


def test_the_command_prints_its_report(store: SqlStore) -> None:
    code, report = command("upgrade_orb_rows", "--dry-run")
    assert (code, report["run"], report["domains"]["luna"]["replaced"]) == (0, None, 5)
    code, report = command("upgrade_orb_rows")
    assert (code, report["domains"]["luna"]["kinds"]["profiles"]["replaced"]) == (0, 5)
    assert [one.constraints[0].description for one in store.find(Profile, {"mode_id": "old 0"})] == ["calm"]
    assert command("rollback_orb_migration", report["run"])[0] == 0
    assert len(texts()) == 5


def test_the_time_of_an_active_mode_comes_into_sql_and_back_into_files(data_dir: Path, tmp_path: Path) -> None:
    tree = {
        "ana": {
            "schemaVersion": 2,
            "activeMode": "m",
            "activeModeUpdatedAt": "2024-01-01T00:00:00.000Z",
            "profiles": {},
        }
    }
    write(data_dir, LUNA, tree)
    migrate([LUNA], data_dir, now=now)
    assert ActiveModeRow.objects.get().updated_at == datetime(2024, 1, 1, tzinfo=UTC)
    assert verify([LUNA], data_dir, now=now).ok
    export([open_sql_store(LUNA)], tmp_path / "out", schema_version=2)
    assert read(tmp_path / "out", LUNA) == tree
