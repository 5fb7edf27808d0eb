"""Maintenance: a due moment runs once, crashes and jumps of the clock do no harm, what is missed coalesces."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from orbsite.models.clock import Clock
from orbsite.models.jobs import Job
from orbsite.models.ledger import Change, Run
from orbsite.models.retention import PolicyRun, RetentionPolicy
from orbsite.operations.progress import Progress, Stopped
from orbsite.operations.report import Report
from orbsite.operations.scheduling import claims
from orbsite.operations.scheduling.maintenance import OWN, maintain
from orbsite.storage.errors import LockTimeout, OrbError
from orbsite.stores import open_file_store, open_sql_store
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_files(settings: Any, tmp_path: Path) -> None:
    settings.ORB_DATA_DIR = tmp_path / ".orb-data"


BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))


class Clockwork:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.moment = BEGIN

    def __call__(self) -> datetime:
        return self.moment


class Retaining:
    """Stands in for retention: counts, and does what a test wants."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.problems: list[BaseException] = []
        self.act: Any = None

    def __call__(self, stores: Any, policy: Any, **options: Any) -> Report:
        self.runs.append(options["actor"])
        if self.problems:
            raise self.problems.pop(0)
        if self.act is not None:
            self.act(**options)
        report = Report(columns=("removed",))
        report.section("te", ()).count("reflections", "removed", 3)
        return report


@pytest.fixture
def clock() -> Clockwork:
    return Clockwork()


@pytest.fixture
def retaining(monkeypatch: pytest.MonkeyPatch) -> Retaining:
    stand_in = Retaining()
    monkeypatch.setattr("orbsite.operations.scheduling.maintenance.retain", stand_in)
    return stand_in


def policy(name: str = "p", **values: Any) -> RetentionPolicy:
    usual = {"domain": "te", "store": "sql", "rules": {"max_per_session": 3}, "every": 3600, "next_due": BEGIN}
    return RetentionPolicy.objects.create(name=name, **{**usual, **values})


def counts(report: Report, name: str = "te") -> dict[str, int]:
    return {what: number for what, number in report.domains[name].counts.get("policies", {}).items() if number}


def test_what_is_due_runs_once_and_is_due_again_later(clock: Clockwork, retaining: Retaining) -> None:
    due, later = policy("due"), policy("later", next_due=BEGIN + SECOND)
    policy("off", enabled=False)
    report = maintain(now=clock)
    assert counts(report) == {"due": 1, "run": 1, "removed": 3}
    assert report.exit_code == 0
    assert retaining.runs == [f"policy {due.pk}"]
    assert "te" not in maintain(now=clock).domains
    due.refresh_from_db()
    assert (due.next_due, due.last_state, due.claimed_by) == (BEGIN + HOUR, "done", "")
    assert due.last_result["domains"]["te"]["removed"] == 3
    clock.moment += HOUR
    assert counts(maintain(now=clock))["run"] == 2
    assert {(run.policy_id, run.slot, run.state) for run in PolicyRun.objects.all()} == {
        (due.pk, BEGIN, "done"),
        (due.pk, BEGIN + HOUR, "done"),
        (later.pk, BEGIN + SECOND, "done"),
    }


def test_a_policy_without_a_moment_is_due_now(clock: Clockwork, retaining: Retaining) -> None:
    mine = policy(next_due=None)
    maintain(now=clock)
    mine.refresh_from_db()
    assert mine.next_due == BEGIN + HOUR
    assert PolicyRun.objects.get().slot == BEGIN


def test_only_the_domains_that_are_asked_for(clock: Clockwork, retaining: Retaining) -> None:
    policy()
    assert "te" not in maintain(now=clock, only=["luna"]).domains
    assert counts(maintain(now=clock, only=["te"]))["run"] == 1


def test_missed_runs_coalesce_into_one(clock: Clockwork, retaining: Retaining) -> None:
    mine = policy()
    clock.moment += 5 * HOUR + MINUTE
    assert counts(maintain(now=clock)) == {"due": 1, "run": 1, "missed": 5, "removed": 3}
    mine.refresh_from_db()
    assert mine.next_due == BEGIN + 6 * HOUR
    assert len(retaining.runs) == PolicyRun.objects.get().missed - 4 == 1


def test_missed_moments_of_a_calendar_coalesce_into_one(clock: Clockwork, retaining: Retaining) -> None:
    mine = policy(repeat="week", weekday=0, at=time(9, 30), zone="Europe/Berlin", next_due=BEGIN)
    clock.moment = BEGIN + 30 * DAY
    assert counts(maintain(now=clock)) == {"due": 1, "run": 1, "missed": 5, "removed": 3}
    mine.refresh_from_db()
    assert mine.next_due == datetime(2026, 4, 6, 7, 30, tzinfo=UTC)  # summer time has begun
    assert (len(retaining.runs), PolicyRun.objects.get().slot) == (1, BEGIN)
    assert "te" not in maintain(now=clock).domains


def test_a_policy_that_was_made_due_by_hand_goes_back_to_its_time_of_day(
    clock: Clockwork, retaining: Retaining
) -> None:
    mine = policy(repeat="month", month_day=31, at=time(23), next_due=None)
    assert counts(maintain(now=clock))["run"] == 1
    mine.refresh_from_db()
    assert mine.next_due == datetime(2026, 3, 31, 23, tzinfo=UTC)


def test_a_time_zone_that_this_machine_lacks_fails_its_policy_alone(clock: Clockwork, retaining: Retaining) -> None:
    lost, good = policy("a", repeat="day", zone="Mars/Olympus"), policy("b")
    report = maintain(now=clock)
    assert (report.exit_code, counts(report)) == (1, {"due": 1, "failed": 1, "run": 1, "removed": 3})
    lost.refresh_from_db()
    assert (lost.last_state, lost.next_due, lost.claimed_by) == ("failed", BEGIN, "")
    assert "no time zone 'Mars/Olympus'" in lost.last_error
    assert retaining.runs == [f"policy {good.pk}"]


def test_a_schedule_that_was_changed_after_the_look_is_not_claimed(clock: Clockwork) -> None:
    seen = policy(repeat="day")
    RetentionPolicy.objects.update(at=time(4))
    assert claims.claim(seen, "one", BEGIN) is None
    assert claims.claim(RetentionPolicy.objects.get(), "two", BEGIN) is not None


def test_two_claims_of_one_moment_are_one(clock: Clockwork) -> None:
    mine = policy()
    seen_by_another = RetentionPolicy.objects.get(pk=mine.pk)
    assert claims.claim(mine, "one", BEGIN) is not None
    assert claims.claim(seen_by_another, "two", BEGIN) is None
    assert claims.due(BEGIN + 5 * HOUR) == []
    assert PolicyRun.objects.get().worker == "one"


def test_whoever_looked_before_somebody_else_claimed_gets_nothing(clock: Clockwork) -> None:
    policy(next_due=None)
    first, second, third, fourth = (RetentionPolicy.objects.get() for _ in range(4))
    slot = claims.claim(first, "one", BEGIN)
    assert slot is not None
    assert claims.claim(second, "two", BEGIN + SECOND) is None  # under way
    slot.finish("done", BEGIN)
    assert claims.claim(third, "three", BEGIN + 2 * SECOND) is None  # done, and due later
    RetentionPolicy.objects.update(next_due=None, enabled=False)
    assert claims.claim(fourth, "four", BEGIN + 3 * SECOND) is None  # turned off
    assert PolicyRun.objects.count() == 1


def test_a_moment_that_has_run_never_runs_again(clock: Clockwork, retaining: Retaining) -> None:
    mine = policy()
    maintain(now=clock)
    RetentionPolicy.objects.filter(pk=mine.pk).update(next_due=BEGIN, last_started=None)
    assert "te" not in maintain(now=clock).domains
    assert len(retaining.runs) == 1
    mine.refresh_from_db()
    assert mine.next_due == BEGIN + HOUR
    with pytest.raises(IntegrityError), transaction.atomic():
        PolicyRun.objects.create(policy=mine, slot=BEGIN, worker="x", started_at=BEGIN)


@pytest.mark.parametrize("problem", [OrbError("told to people"), ZeroDivisionError("a secret of ana's")])
def test_a_policy_that_fails_keeps_no_other_from_running(
    clock: Clockwork, retaining: Retaining, problem: Exception
) -> None:
    bad, good = policy("bad"), policy("good")
    retaining.problems = [problem]
    report = maintain(now=clock)
    assert counts(report) == {"due": 2, "run": 1, "failed": 1, "removed": 3}
    assert report.exit_code == 1
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.last_state, good.last_state) == ("failed", "done")
    assert (bad.claimed_by, bad.next_due) == ("", BEGIN + HOUR)
    assert ("told to people" in bad.last_error) == isinstance(problem, OrbError)
    assert "secret" not in bad.last_error + PolicyRun.objects.get(policy=bad).error
    clock.moment += HOUR
    assert counts(maintain(now=clock))["run"] == 2


def test_a_policy_whose_rules_or_domain_are_wrong_fails_with_a_word(clock: Clockwork, retaining: Retaining) -> None:
    policy("a", rules={}), policy("b", domain="gone"), policy("c", rules={"keep_lots": 1})
    report = maintain(now=clock)
    assert not retaining.runs
    told = " ".join(RetentionPolicy.objects.values_list("last_error", flat=True))
    assert all(word in told for word in ("without any rule", "no domain 'gone'", "keep_lots"))
    assert counts(report, "gone") == {"due": 1, "failed": 1}


def test_where_others_are_in_the_way_it_stays_due(clock: Clockwork, retaining: Retaining) -> None:
    mine = policy()
    retaining.problems = [LockTimeout("another run")] * 2
    assert counts(maintain(now=clock, patience=0)) == {"due": 1, "busy": 1}
    mine.refresh_from_db()
    assert (mine.next_due, mine.last_state, mine.last_started, mine.claimed_by) == (BEGIN, "", None, "")
    assert not PolicyRun.objects.exists()
    assert counts(maintain(now=clock)) == {"due": 1, "run": 1, "removed": 3}
    assert len(retaining.runs) == 3


def test_what_stops_a_worker_leaves_no_policy_running(clock: Clockwork, retaining: Retaining) -> None:
    mine = policy()
    retaining.problems = [Stopped("now")]
    with pytest.raises(Stopped):
        maintain(now=clock)
    mine.refresh_from_db()
    assert (mine.last_state, mine.claimed_by) == ("failed", "")
    assert "it was stopped" in mine.last_error


def test_a_policy_that_was_given_away_meanwhile_keeps_no_other_from_running(
    clock: Clockwork, retaining: Retaining
) -> None:
    gone, other = policy("a"), policy("b")

    def lose(**_: Any) -> None:
        if RetentionPolicy.objects.filter(pk=gone.pk).update(claimed_by="another host"):
            retaining.act = lambda **_: None
            raise Stopped("the claim is gone")

    retaining.act = lose
    told = counts(maintain(now=clock))
    assert (told["due"], told["failed"], told["run"]) == (2, 1, 1)
    gone.refresh_from_db()
    other.refresh_from_db()
    assert (gone.claimed_by, other.last_state) == ("another host", "done")


def test_nothing_more_is_begun_once_it_should_stop(clock: Clockwork, retaining: Retaining) -> None:
    progress = Progress()
    policy("a"), policy("b")
    retaining.act = lambda **_: setattr(progress, "is_stopping", True)
    assert counts(maintain(now=clock, progress=progress))["due"] == 1
    assert not Clock.objects.get().day


@pytest.fixture
def crashed(clock: Clockwork) -> RetentionPolicy:
    mine = policy()
    slot = claims.claim(mine, "dead", BEGIN)
    assert slot is not None
    return mine


def test_a_crashed_run_shows_as_failed_and_the_next_one_recovers(
    clock: Clockwork, retaining: Retaining, crashed: RetentionPolicy
) -> None:
    clock.moment += 5 * MINUTE
    assert "te" not in maintain(now=clock).domains
    clock.moment += SECOND
    report = maintain(now=clock)
    assert counts(report) == {"failed": 1}
    assert "dead" in crashed.runs.get().error
    crashed.refresh_from_db()
    assert (crashed.last_state, crashed.claimed_by) == ("failed", "")
    clock.moment = BEGIN + HOUR
    assert counts(maintain(now=clock))["run"] == 1
    assert sorted(crashed.runs.values_list("state", flat=True)) == ["done", "failed"]


def test_whoever_was_taken_for_dead_changes_nothing_more(clock: Clockwork) -> None:
    mine = policy()
    slot = claims.claim(mine, "slow", BEGIN)
    assert slot is not None
    assert slot.beat(BEGIN, None)  # type: ignore[arg-type]
    assert list(claims.recover(BEGIN + HOUR, MINUTE)) == [mine]
    assert not slot.beat(BEGIN + HOUR, None)  # type: ignore[arg-type]
    assert not slot.finish("done", BEGIN + HOUR)
    slot.put_back()
    mine.refresh_from_db()
    assert (mine.last_state, PolicyRun.objects.get().state) == ("failed", "failed")


def test_whoever_gives_a_sign_of_life_is_left_alone(clock: Clockwork) -> None:
    slot = claims.claim(policy(), "alive", BEGIN)
    assert slot is not None
    slot.beat(BEGIN + HOUR, None)  # type: ignore[arg-type]
    assert list(claims.recover(BEGIN + HOUR + MINUTE, MINUTE)) == []


@pytest.mark.parametrize("jump", [-3 * 365 * DAY, -DAY, 2 * DAY, 100 * 365 * DAY])
def test_a_clock_that_jumps_runs_nothing(clock: Clockwork, retaining: Retaining, jump: timedelta) -> None:
    policy(next_due=BEGIN - 9999 * DAY, rules={"max_age_days": 90})
    Clock.objects.create(trusted=BEGIN)
    Job.objects.create(operation="verify", state="running", created_at=BEGIN, heartbeat=BEGIN)
    clock.moment = BEGIN + jump
    report = maintain(now=clock)
    assert (report.exit_code, counts(report, OWN)) == (1, {"refused": 1})
    assert not retaining.runs
    assert Job.objects.get().state == "running"
    clock.moment = BEGIN + HOUR
    assert counts(maintain(now=clock))["run"] == 1


def test_a_clock_that_jumps_in_the_middle_runs_no_further_policy(clock: Clockwork, retaining: Retaining) -> None:
    policy("a"), policy("b")
    retaining.act = lambda **_: setattr(clock, "moment", BEGIN + 40 * DAY)
    report = maintain(now=clock)
    assert (report.exit_code, counts(report)) == (1, {"due": 2, "run": 1, "refused": 1, "removed": 3})
    assert OWN not in report.domains  # nothing has expired by such a clock
    left = RetentionPolicy.objects.get(name="b")
    assert (left.next_due, left.last_started, left.claimed_by, left.runs.count()) == (BEGIN, None, "", 0)
    clock.moment = BEGIN + MINUTE
    retaining.act = None
    assert counts(maintain(now=clock))["run"] == 1


def test_a_start_that_is_still_to_come_is_refused_and_told(clock: Clockwork, retaining: Retaining) -> None:
    mine = policy(next_due=BEGIN - HOUR, last_started=BEGIN + MINUTE)
    report = maintain(now=clock)
    assert (report.exit_code, counts(report)) == (1, {"refused": 1})
    assert "in the future" in report.domains["te"].findings[0].message
    assert not retaining.runs
    assert counts(maintain(now=clock, trust_clock=True))["run"] == 1
    mine.refresh_from_db()
    assert mine.last_started == BEGIN


def test_once_a_day_what_has_expired_goes(clock: Clockwork) -> None:
    old, new = BEGIN - 31 * DAY, BEGIN - 29 * DAY
    for moment in (old, new):
        for operation in ("compact", "migrate"):
            run = Run.objects.create(operation=operation, started_at=moment)
            Change.objects.create(run=run, domain="te", kind="reflections", key='["ana","r"]', before="{}", after="")
        Job.objects.create(operation="verify", state="done", created_at=moment, finished_at=moment)
        Job.objects.create(operation="verify", created_at=moment)
    facts = maintain(now=clock).domains[OWN].facts
    assert facts["growth_noted"] == 3
    assert (facts["tombstones_removed"], facts["jobs_removed"]) == (1, 1)
    assert Change.objects.filter(run__operation="compact").get().run.started_at == new
    assert (Change.objects.count(), Job.objects.count()) == (3, 3)
    assert OWN not in maintain(now=clock).domains
    clock.moment += DAY
    assert OWN in maintain(now=clock).domains


def test_the_real_retention_removes_what_a_policy_says(clock: Clockwork) -> None:
    open_sql_store(TE).put([ReflectionFactory(session_id="s", created_at=BEGIN - n * DAY) for n in range(10)])
    policy("guarded")
    assert counts(maintain(now=clock)) == {"due": 1, "failed": 1}
    assert ReflectionRow.objects.count() == 10
    policy("forced", force=True)
    assert counts(maintain(now=clock)) == {"due": 1, "run": 1, "removed": 7}
    assert ReflectionRow.objects.count() == 3


def test_a_chore_that_fails_is_told_and_tried_again(
    clock: Clockwork, retaining: Retaining, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy()
    with monkeypatch.context() as patch:
        patch.delattr("orbsite.operations.scheduling.daily.note_growth")
        report = maintain(now=clock)
    assert (report.exit_code, counts(report)["run"], counts(report, OWN)) == (1, 1, {"failed": 1})
    assert "unexpected NameError" in report.domains[OWN].findings[0].message
    assert maintain(now=clock).domains[OWN].facts["growth_noted"] == 3


def test_files_are_retained_as_the_tables_are(clock: Clockwork, settings: Any) -> None:
    settings.ORB_DATA_DIR.mkdir(mode=0o700)
    open_file_store(TE).put([ReflectionFactory(session_id="s", created_at=BEGIN - n * DAY) for n in range(10)])
    mine = policy(store="file", force=True)
    assert counts(maintain(now=clock)) == {"due": 1, "run": 1, "removed": 7}
    assert open_file_store(TE).count(Reflection) == 3
    mine.refresh_from_db()
    assert mine.last_result["tombstones"]


def test_one_record_from_the_future_keeps_no_policy_from_running(clock: Clockwork) -> None:
    ahead = ReflectionFactory(id="ahead", user_id="eve", created_at=BEGIN + 9000 * DAY)
    others = [ReflectionFactory(id=f"{n}", user_id="ana", created_at=BEGIN - n * 20 * DAY) for n in range(6)]
    open_sql_store(TE).put([ahead, *others])
    policy(rules={"max_age_days": 90})
    assert counts(maintain(now=clock)) == {"due": 1, "run": 1, "removed": 1}
    assert ReflectionRow.objects.count() == 6
    result = PolicyRun.objects.get().result
    assert any("in the future (user 'eve'): it stays" in one["message"] for one in result["findings"])


def test_a_policy_that_is_forced_still_asks_the_clock_until_that_is_trusted(clock: Clockwork) -> None:
    open_sql_store(TE).put(
        [ReflectionFactory(id=f"{n}", created_at=BEGIN + (9 if n else -900) * DAY) for n in range(4)]
    )
    forced = policy(rules={"max_age_days": 90}, force=True)
    assert counts(maintain(now=clock)) == {"due": 1, "failed": 1}
    forced.refresh_from_db()
    assert "--trust-clock" in forced.last_error
    assert "--force" not in forced.last_error
    clock.moment += HOUR
    assert counts(maintain(now=clock, trust_clock=True)) == {"due": 1, "run": 1, "removed": 1}
