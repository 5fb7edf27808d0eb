"""Verify, roll back, resume and retry, as an operator does."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from orbsite.models.ledger import Change, Reject, Run
from orbsite.operations.ledger.change_log import ChangeLog
from orbsite.operations.ledger.runs import alone
from orbsite.operations.migration import batches
from orbsite.operations.migration import migrate as migrations
from orbsite.operations.migration import run as transfer
from orbsite.operations.migration.loader import Loader
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import StoreUnavailable
from orbsite.storage.records.domain import registered
from tests.management.test_commands import _rows, migrate, run

pytestmark = pytest.mark.django_db

TE, LUNA = "te/reflections.json", "luna/profiles.json"


def edit(path: Path, change: Any) -> None:
    tree = json.loads(path.read_bytes())
    change(tree)
    path.write_text(json.dumps(tree))


def execute(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.rowcount


def total(report: dict[str, Any], what: str) -> int:
    return sum(report["domains"][name].get(what, 0) for name in report["domains"])


def test_what_was_migrated_verifies(files: Path) -> None:
    migrate(files)
    code, report = run("verify_orb_files", "--data-dir", files)
    assert (code, total(report, "equal"), total(report, "read")) == (0, 229, 229)


def test_every_difference_is_listed_with_its_fields(files: Path) -> None:
    migrate(files)
    execute("UPDATE te_reflections SET notes = 'edited', input = 'x' WHERE id = '6bd5d0e4-e752-4497-9f27-db2abd48d535'")
    execute("DELETE FROM luna_active_modes WHERE user_id = 'ana-0'")
    edit(files / TE, lambda tree: tree["sessions"].pop("shared-session"))
    code, report = run("verify_orb_files", "--data-dir", files)
    assert code == 1
    assert (total(report, "differ"), total(report, "missing"), total(report, "extra")) == (1, 1, 11)
    messages = [finding["message"] for finding in report["findings"] if finding["severity"] == "error"]
    assert "differs from SQL in input, notes" in messages
    assert "is not in SQL" in messages
    assert messages.count("is in SQL and not in the file") == 11


def test_a_run_that_is_rolled_back_leaves_what_was_there_before(files: Path) -> None:
    before = _rows()
    _, report = migrate(files)
    code, undone = run("rollback_orb_migration", report["run"])
    assert (code, total(undone, "removed"), total(undone, "kept")) == (0, 229, 0)
    assert _rows() == before
    assert Run.objects.get(pk=report["run"]).state == "rolled back"
    assert Run.objects.get(pk=undone["run"]).reverts_id == report["run"]
    code, again = run("rollback_orb_migration", report["run"])
    assert (code, total(again, "removed")) == (0, 0)
    _, report = migrate(files)
    assert total(report, "new") == 229


def test_rows_edited_since_are_listed_and_kept(files: Path) -> None:
    _, report = migrate(files)
    assert (
        execute("UPDATE te_reflections SET notes = 'mine' WHERE id IN (SELECT id FROM te_reflections LIMIT 10)") == 10
    )
    edited = [row for row in _rows() if "mine" in map(str, row)]
    code, dry = run("rollback_orb_migration", report["run"], "--dry-run")
    assert (total(dry, "removed"), total(dry, "kept"), len(_rows())) == (219, 10, 229)
    code, undone = run("rollback_orb_migration", report["run"])
    assert (code, total(undone, "removed"), total(undone, "kept")) == (1, 219, 10)
    assert [finding["message"] for finding in undone["findings"]] == ["was changed since; it was kept"] * 10
    assert _rows() == edited
    code, forced = run("rollback_orb_migration", report["run"], "--force")
    assert (code, total(forced, "removed"), _rows()) == (0, 10, [])


def test_what_a_run_replaced_comes_back(files: Path) -> None:
    _, first = migrate(files)
    before = _rows()

    def newer(tree: Any) -> None:
        for item in tree["sessions"]["default"][:5]:
            item["notes"] = "newer"
        tree["sessions"]["fresh"] = [{**tree["sessions"]["default"][0], "id": "fresh"}]
        tree["userSessions"]["ana-0"].append("fresh")

    edit(files / TE, newer)
    _, second = migrate(files)
    assert (total(second, "replaced"), total(second, "new")) == (5, 1)
    assert Change.objects.count() == 5
    execute(
        "UPDATE te_reflections SET notes = 'mine' WHERE notes = 'newer' AND id = (SELECT MIN(id) FROM te_reflections WHERE notes = 'newer')"
    )
    code, undone = run("rollback_orb_migration", second["run"])
    assert (code, total(undone, "restored"), total(undone, "removed"), total(undone, "kept")) == (1, 4, 1, 1)
    assert len(set(_rows()) - set(before)) == 1
    code, undone = run("rollback_orb_migration", second["run"], "--force")
    assert (code, set(_rows())) == (0, set(before))
    code, undone = run("rollback_orb_migration", first["run"])
    assert (code, _rows()) == (0, [])


@pytest.mark.parametrize("number", [0, 999])
def test_a_run_that_is_not_there_is_an_error(number: int) -> None:
    code, report = run("rollback_orb_migration", number)
    assert (code, report["findings"][0]["message"]) == (2, f"there is no run {number}; the admin lists all runs")


def test_an_interrupted_run_is_gone_on_with(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SIZE", 20)
    removals, calls = Loader._classified, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return removals(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Loader, "_classified", interrupted)
        code, report = migrate(files, "--only", "te")
    assert code == 130
    stopped = Run.objects.get()
    assert (stopped.state, stopped.cursor) == ("interrupted", {"te": 80})
    code, report = migrate(files, "--resume", "--only", "te")
    assert (code, report["run"], Run.objects.count()) == (0, stopped.pk, 1)
    assert (total(report, "read"), total(report, "new"), total(report, "unchanged")) == (142, 142, 0)
    code, report = migrate(files, "--resume", "--only", "te")
    assert (code, "no run was interrupted" in report["findings"][0]["message"]) == (2, True)


def test_what_was_rejected_is_kept_with_its_bytes_and_taken_once_it_is_mended(files: Path) -> None:
    def damage(tree: Any) -> None:
        tree["sessions"]["default"][3]["createdAt"] = "soon"

    edit(files / TE, damage)
    code, report = migrate(files)
    assert (code, total(report, "rejected"), total(report, "new")) == (1, 1, 228)
    reject = Reject.objects.get()
    assert (reject.path, reject.kind, reject.settled_by) == ("$.sessions.default[3]", "reflections", None)
    assert json.loads(reject.original)["createdAt"] == "soon"
    assert "createdAt" in reject.reason
    code, report = migrate(files, "--retry-rejected")
    assert (code, total(report, "read"), total(report, "rejected")) == (1, 1, 1)
    edit(files / TE, lambda tree: tree["sessions"]["default"][3].update(createdAt="2024-01-01T00:00:00Z"))
    code, report = migrate(files, "--retry-rejected")
    assert (code, total(report, "read"), total(report, "new")) == (0, 1, 1)
    assert not Reject.objects.filter(settled_by=None).exists()
    code, report = migrate(files)
    assert (code, total(report, "unchanged"), total(report, "new")) == (0, 229, 0)


def test_an_interrupted_run_that_was_rolled_back_is_not_gone_on_with(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "SIZE", 20)
    monkeypatch.setattr(transfer, "_PARTS", 1)
    settle = ChangeLog.settle

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(ChangeLog, "settle", interrupted)
    migrate(files, "--only", "te")
    stopped = Run.objects.get()
    monkeypatch.setattr(ChangeLog, "settle", settle)
    run("rollback_orb_migration", stopped.pk)
    assert _rows() == []
    code, report = migrate(files, "--only", "te")
    assert (code, total(report, "new"), report["run"] > stopped.pk) == (0, 142, True)


@pytest.fixture
def pressed() -> Iterator[None]:
    """Ctrl-C as on a terminal, however the tests were started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("pressed")
def test_a_wish_to_stop_is_heeded_after_the_transaction(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SIZE", 20)
    removals = Loader._classified

    def and_press(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return removals(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Loader, "_classified", and_press)
        code, report = migrate(files, "--only", "te")
    assert (code, "Run it again to continue" in report["findings"][0]["message"]) == (130, True)
    stopped = Run.objects.get()
    assert (stopped.state, stopped.cursor, len(_rows())) == (
        "interrupted",
        {"te": 20},
        stopped.counts["te"]["reflections"]["new"],
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    code, report = migrate(files, "--only", "te")
    assert (code, report["run"], total(report, "new")) == (0, stopped.pk, 142)


def test_an_incremental_run_leaves_out_files_that_are_as_they_were(files: Path) -> None:
    migrate(files)
    code, report = migrate(files, "--incremental")
    assert (code, report["domains"]["te"]["read"], report["domains"]["luna"]["read"]) == (0, 0, 0)
    assert report["domains"]["te"]["unchanged_since_run"] == 1
    edit(files / TE, lambda tree: next(iter(tree["sessions"].values()))[0].update(notes="edited"))
    code, report = migrate(files, "--incremental")
    assert (code, total(report, "read"), total(report, "replaced"), report["domains"]["luna"]["read"]) == (0, 142, 1, 0)
    run("rollback_orb_migration", report["run"])
    code, report = migrate(files, "--incremental")
    assert (code, total(report, "read"), total(report, "replaced")) == (0, 229, 1)


def test_every_run_is_verified_and_says_so(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, report = migrate(files)
    verified = Run.objects.get(pk=report["run"]).verification
    told = verified["te"]["reflections"]
    assert (told["written"], told["users"], told["unverified"]) == (142, 14, 0)
    assert told["digest"] == told["digest_in_sql"]
    execute("DELETE FROM te_reflections")
    settle = ChangeLog.settle

    def settle_and_lose_some(change_log: ChangeLog, paths: Any) -> None:
        settle(change_log, paths)
        execute("DELETE FROM te_reflections WHERE id IN (SELECT id FROM te_reflections LIMIT 3)")

    monkeypatch.setattr(ChangeLog, "settle", settle_and_lose_some)
    code, report = migrate(files, "--only", "te")
    assert code == 1
    assert "3 reflections are not in SQL as they were read" in report["findings"][-1]["message"]


def test_an_incremental_run_looks_again_where_the_last_one_found_something_missing(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        settle = ChangeLog.settle

        def and_lose_some(change_log: ChangeLog, paths: Any) -> None:
            settle(change_log, paths)
            execute("DELETE FROM te_reflections WHERE id IN (SELECT id FROM te_reflections LIMIT 3)")

        patch.setattr(ChangeLog, "settle", and_lose_some)
        assert migrate(files, "--only", "te")[0] == 1
    code, report = migrate(files, "--only", "te", "--incremental")
    assert (code, total(report, "new"), total(report, "unchanged")) == (0, 3, 139)


def test_two_runs_do_not_go_side_by_side(files: Path) -> None:
    with alone(), pytest.raises(StoreUnavailable, match="another run"):
        migrations.migrate(registered(["te"]), files, now=utc_now)
    assert not Run.objects.exists()
