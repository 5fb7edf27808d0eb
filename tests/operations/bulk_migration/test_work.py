"""Each directory is migrated in one run, verified, and completed together with its claim; conflicts have one outcome."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orbsite.models.bulk_migrations import BulkDirectory, BulkMigration, DirectoryState, identity_of
from orbsite.models.ledger import Change, Run, RunState
from orbsite.operations.bulk_migration import claims
from orbsite.operations.bulk_migration import work as working
from orbsite.operations.bulk_migration.begin import Options, begin
from orbsite.operations.bulk_migration.claims import MOST_TRIES
from orbsite.operations.bulk_migration.work import work
from orbsite.operations.migration import run as running
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.progress import Progress, Stopped
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import LockTimeout, StoreUnavailable
from orbsite.storage.records.domain import registered
from te.models import ReflectionRow
from tests.support.effort import effort

pytestmark = pytest.mark.django_db
Plant = Callable[..., Path]
NO_DELAY = timedelta(0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_FIRST_DELAY", NO_DELAY)
    monkeypatch.setattr("orbsite.operations.bulk_migration.patience._PAUSE", 0.01)
    monkeypatch.setattr(working, "_PAUSE", 0.01)


def reflections(**texts: str) -> str:
    """Return a document with a reflection of `ana` for each id and text."""
    made = [
        {"id": one, "userId": "ana", "input": text, "output": "", "tags": [], "createdAt": "2024-01-01T00:00:00.000Z"}
        for one, text in texts.items()
    ]
    return json.dumps({"userSessions": {"ana": ["s"]}, "sessions": {"s": made}})


def begun(root: Path, **options: Any) -> BulkMigration:
    return begin(root, Options(**options), now=utc_now)[0]


def worked(bulk: BulkMigration, **how: Any) -> Report:
    return work(bulk, now=utc_now, waits=True, **how)


def states(bulk: BulkMigration) -> dict[str, str]:
    return {Path(row.name).name: row.state for row in BulkDirectory.objects.filter(bulk=bulk)}


def facts(report: Report) -> dict[str, int]:
    return {name: number for name, number in report.domains["directories"].facts.items() if number}


def test_each_directory_is_migrated_in_one_verified_run(root: Path, plant: Plant) -> None:
    for name in "abc":
        plant(name, te=reflections(**{name: "text"}))
    bulk = begun(root)
    report = worked(bulk)
    assert (report.exit_code, facts(report)) == (0, {"bulk_migration": bulk.pk, "all": 3, "done": 3})
    assert report.domains["te"].total("new") == 3
    runs = Run.objects.order_by("source")
    assert [(Path(run.source).name, run.state) for run in runs] == [(name, RunState.COMPLETE) for name in "abc"]
    assert all(run.verification["te"]["reflections"]["unverified"] == 0 for run in runs)
    rows = BulkDirectory.objects.filter(bulk=bulk).order_by("name")
    assert [(row.run, row.read, row.written, row.problems) for row in rows] == [(run, 1, 1, 0) for run in runs]
    assert worked(bulk).as_json() == report.as_json()
    assert Run.objects.count() == 3


def test_a_broken_directory_fails_after_its_tries_and_does_not_stop_the_others(root: Path, plant: Plant) -> None:
    plant("a", te="{")
    plant("b", te=reflections(b="text"))
    bulk = begun(root)
    report = worked(bulk)
    assert (report.exit_code, states(bulk)) == (2, {"a": "failed", "b": "done"})
    (finding,) = report.domains["directories"].findings
    assert finding.path.endswith("/a")
    assert "was not migrated: " in finding.message
    assert "reflections.json" in finding.message
    assert BulkDirectory.objects.get(state="failed").tries == MOST_TRIES
    (root / "a" / "te" / "reflections.json").write_text(reflections(a="text"))
    assert worked(bulk).exit_code == 2
    begin(root, Options(), now=utc_now, retry_failed=True)
    assert (worked(bulk).exit_code, states(bulk)) == (0, {"a": "done", "b": "done"})


def test_rejected_records_make_the_report_not_ok_and_are_told_with_their_directory(root: Path, plant: Plant) -> None:
    plant("a", te=json.dumps({"userSessions": {"ana": ["s"]}, "sessions": {"s": [{"id": "x", "userId": "ana"}]}}))
    report = worked(begun(root))
    assert (report.exit_code, report.domains["te"].total("rejected")) == (1, 1)
    assert report.domains["te"].findings[0].path.startswith(f"{root}/a $.sessions")
    assert BulkDirectory.objects.get().problems == 1


def test_a_worker_that_loses_its_claim_in_the_last_moment_completes_nothing(
    root: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("a", te=reflections(a="text"))
    bulk, real, taken_over = begun(root), claims.Claim.complete, list[bool]()

    def too_late(claim: claims.Claim, run: Run, report: Report, moment: Any) -> None:
        if not taken_over:
            taken_over.append(True)
            later = utc_now() + timedelta(hours=1)
            assert claims.take(bulk, "other", later, timedelta(minutes=5)) is not None
        real(claim, run, report, moment)

    monkeypatch.setattr(claims.Claim, "complete", too_late)
    assert work(bulk, now=utc_now).domains["directories"].facts["running"] == 1
    run = Run.objects.get()
    assert (run.state, run.finished_at is None) == (RunState.FAILED, False)
    BulkDirectory.objects.update(heartbeat=utc_now() - timedelta(hours=1))
    assert worked(bulk).exit_code == 0
    run = Run.objects.get()  # the same one, resumed
    assert (run.state, BulkDirectory.objects.get().run, ReflectionRow.objects.count()) == (RunState.COMPLETE, run, 1)


def test_a_worker_waits_for_the_lock_of_another_run_and_loses_no_try(
    root: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("a", te=reflections(a="text"))
    real, refused = working.alone_over, list[str]()

    def busy(source: str) -> Any:
        if len(refused) < 3:
            refused.append(source)
            raise LockTimeout("another run writes")
        return real(source)

    monkeypatch.setattr(working, "alone_over", busy)
    assert worked(begun(root)).exit_code == 0
    assert refused == [f"{root}/a"] * 3
    assert BulkDirectory.objects.get().tries == 1


def test_an_error_in_the_middle_is_tried_again_and_the_run_is_resumed(
    root: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("a", te=reflections(a="text"))
    real, failures = running.Transfer._verify, list[bool]()

    def failing(self: Any, *arguments: Any, **named: Any) -> None:
        if not failures:
            failures.append(True)
            raise StoreUnavailable("the connection was lost")
        real(self, *arguments, **named)

    monkeypatch.setattr(running.Transfer, "_verify", failing)
    assert worked(begun(root)).exit_code == 0
    row = BulkDirectory.objects.get()
    assert (row.tries, row.error, row.run, Run.objects.count()) == (2, "", Run.objects.get(), 1)


class _StopAfter(Progress):
    def __init__(self, number: int) -> None:
        self._left = number

    def __call__(self, records: int) -> None:
        self._left -= records
        self.is_stopping = self._left <= 0


def test_a_stopped_worker_leaves_the_rest_waiting_and_another_call_continues(root: Path, plant: Plant) -> None:
    for name in "abc":
        plant(name, te=reflections(**{name: "text"}))
    bulk = begun(root)
    with pytest.raises(Stopped, match="what bulk migration .* has done is kept. Run it again to continue"):
        worked(bulk, progress=_StopAfter(1))
    assert states(bulk) == {"a": "done", "b": "waiting", "c": "waiting"}
    assert (worked(bulk).exit_code, Run.objects.count()) == (0, 3)


def test_a_directory_that_is_gone_by_now_fails_with_the_reason(root: Path, plant: Plant) -> None:
    base = plant("a", te=reflections(a="text"))
    bulk = begun(root)
    base.rename(root / "moved")
    assert worked(bulk).exit_code == 2
    assert "there is no data directory" in BulkDirectory.objects.get(state=DirectoryState.FAILED).error


def kept(order: Sequence[str], root: Path) -> tuple[list[tuple[str, str]], int, set[str]]:
    """Migrate the directories in an order, and return the rows, the number that was replaced, and the messages."""
    with transaction.atomic():
        bulk = BulkMigration.objects.create(**identity_of(root), options={"only": ["te"]}, created_at=utc_now())
        for name in order:
            BulkDirectory.objects.create(bulk=bulk, **identity_of(root / name))
        report = worked(bulk)
        assert report.exit_code == 0
        rows = list(ReflectionRow.objects.order_by("id").values_list("id", "input"))
        found = {one.message for one in report.domains["te"].findings}
        assert Change.objects.count() == report.domains["te"].total("replaced")
        transaction.set_rollback(True)
    return rows, report.domains["te"].total("replaced"), found


TEXTS = st.fixed_dictionaries({}, optional={one: st.sampled_from(["same", "p", "q", "r"]) for one in ("x", "y")})


@pytest.mark.deep
@settings(max_examples=effort(2, 60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(documents=[{"x": "same"}, {"x": "p"}, {"x": "same"}])
@given(documents=st.lists(TEXTS, min_size=3, max_size=3))
def test_directories_that_differ_about_a_record_end_the_same_in_every_order(
    documents: list[dict[str, str]], root: Path
) -> None:
    for name, texts in zip("abc", documents, strict=True):
        path = root / name / "te" / "reflections.json"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.parent.chmod(0o700)
        path.write_text(reflections(**texts))
        path.chmod(0o600)
    first, *others = [kept(order, root)[0] for order in permutations("abc")]
    assert all(other == first for other in others)


def test_the_record_that_is_kept_of_two_is_reported_with_the_other_directory(root: Path, plant: Plant) -> None:
    plant("a", te=reflections(x="one"))
    plant("b", te=reflections(x="two"))
    outcomes = [kept(order, root) for order in ("ab", "ba")]
    assert outcomes[0][0] == outcomes[1][0]
    assert sorted(replaced for _, replaced, _ in outcomes) == [0, 1]
    messages = {message for *_, found in outcomes for message in found}
    ends = {message.rpartition("; ")[2] for message in messages}
    assert ends == {"this one replaced it", "that one was kept"}
    assert all(" has another record with this key; " in message for message in messages)


def test_a_record_of_a_directory_outside_is_replaced_as_by_any_migration(root: Path, plant: Plant) -> None:
    outside = plant("../outside", te=reflections(x="older")).resolve()
    plant("a", te=reflections(x="newer"))
    migrate(registered(["te"]), outside, now=utc_now)
    report = worked(begun(root, only=("te",)))
    assert (report.domains["te"].total("replaced"), report.domains["te"].findings) == (1, [])
