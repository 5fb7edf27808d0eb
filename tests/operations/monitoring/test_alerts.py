"""What needs attention: told when it does, and not otherwise, each with what mends it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orbsite.conf.app_settings import Persistence
from orbsite.models.clock import Clock
from orbsite.models.jobs import Job
from orbsite.models.ledger import Run
from orbsite.models.retention import RetentionPolicy
from orbsite.operations.jobs import catalog
from orbsite.operations.monitoring.alert import AT_ONCE, Alert, Severity
from orbsite.operations.monitoring.alerts import alerts
from orbsite.operations.monitoring.snapshot import DashboardSnapshot
from orbsite.operations.statistics.figures import FILE, SQL, Figures
from orbsite.storage.file.checker import Issue, IssueKind
from orbsite.storage.postgresql.replicas import Condition
from te.domain import DOMAIN as TE

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
HELD = {"users": 1, "reflections": 7}


def a_scene(**parts: Any) -> DashboardSnapshot:
    """Return a scene in which all is well, but for some parts."""
    whole: dict[str, Any] = {
        "now": NOW,
        "mode": Persistence.SQL,
        "is_ours": True,
        "has_own_workers": True,
        "figures": [Figures(domain=TE, store=SQL, counts=HELD, as_of=NOW)],
        "backup": NOW - DAY,
        "clock": Clock(trusted=NOW - MINUTE),
        "free": 2**40,
    }
    return DashboardSnapshot(**whole | parts)


def found(snapshot: DashboardSnapshot, may: Any = lambda _: True) -> dict[str, Alert]:
    return {one.name: one for one in alerts(snapshot, may)}


def a_file(**parts: Any) -> list[Figures]:
    return [Figures(domain=TE, store=FILE, counts=HELD, as_of=NOW, **parts)]


def a_job(**parts: Any) -> Job:
    return Job(**{"pk": 5, "operation": "migrate", "state": "done", "created_at": NOW - DAY} | parts)


def a_run(**parts: Any) -> Run:
    return Run(**{"pk": 9, "operation": "migrate", "state": "complete", "started_at": NOW - DAY} | parts)


def a_policy(**parts: Any) -> RetentionPolicy:
    return RetentionPolicy(**{"pk": 3, "name": "p", "domain": "te", "rules": {"keep_last": 1}} | parts)


def test_where_all_is_well_nothing_needs_attention() -> None:
    snapshot = a_scene(
        runs={"migrate": [a_run()], "verify": [a_run(counts={"te": {"reflections": {"equal": 7, "differ": 0}}})]},
        open_jobs=[a_job(state="running", heartbeat=NOW - MINUTE, started_at=NOW - HOUR)],
        ended_jobs=[a_job(finished_at=NOW)],
        policies=[a_policy(next_due=NOW + HOUR, last_state="done")],
        rejects=Counter(),
    )
    assert found(snapshot) == {}


@pytest.mark.parametrize(
    ("condition", "severity", "said"),
    [
        (Condition.LAGGING, Severity.WARNING, "more than 10 seconds behind"),
        (Condition.UNREACHABLE, Severity.WARNING, "the primary has their load"),
        (Condition.PROMOTED, Severity.ERROR, "two servers may have different data"),
    ],
)
def test_a_replica_that_takes_no_reads_is_told(condition: Condition, severity: Severity, said: str) -> None:
    assert found(a_scene(replicas={"replica-1": Condition.FIT})) == {}
    (alert,) = found(a_scene(replicas={"replica-1": Condition.FIT, "replica-2": condition})).values()
    assert (alert.name, alert.severity, "replica-2" in alert.title) == ("replica-replica-2", severity, True)
    assert said in alert.text


DAMAGE = Issue(IssueKind.CORRUPT, "reflections.json", "cannot be read")
EDITED = Issue(IssueKind.EDITED, "reflections.json", "another program has changed it")
OLD = Job(pk=5, operation="check", state="done", created_at=NOW - 9 * DAY, finished_at=NOW - 8 * DAY, result={})
FOUND = {"findings": [{"path": "te/reflections.json", "severity": "error", "message": "is torn"}]}


@pytest.mark.parametrize(
    ("parts", "name", "severity"),
    [
        ({"figures": [Figures(domain=TE, store=SQL, problem="no table; run: manage.py migrate")]}, "sql-te", "error"),
        ({"figures": a_file(issues=(DAMAGE, EDITED))}, "damaged-te", "error"),
        ({"figures": a_file(problem="refused: a link")}, "damaged-te", "error"),
        ({"figures": a_file(issues=(EDITED,))}, "odd-te", "note"),
        ({"figures": a_file(issues=None)}, "unchecked", "note"),
        ({"figures": a_file(issues=None), "last_check": OLD}, "unchecked", "note"),
        ({"figures": a_file(issues=None), "last_check": a_job(finished_at=NOW - DAY, result=FOUND)}, "damaged", "error"),
        ({"figures": a_file(journal=2**29 + 1)}, "journal-te", "warning"),
        ({"figures": a_file(journal=2**30 + 1)}, "journal-te", "error"),
        ({"figures": [Figures(domain=TE, store=SQL, is_small=False, counts=HELD)]}, "uncounted", "note"),
        ({"rejects": Counter(te=1)}, "rejects-te", "warning"),
        ({"figures": a_file(written=NOW - DAY)}, "unmigrated", "note"),
        ({"figures": a_file(written=NOW - HOUR), "runs": {"migrate": [a_run()]}}, "unmigrated", "note"),
        ({"figures": a_file(written=NOW - 2 * DAY, digest="1"), "runs": {"migrate": [a_run()]}}, "unmigrated", "note"),
        ({"mode": Persistence.FILE}, "mode", "note"),
        ({"mode": Persistence.MEMORY}, "mode", "warning"),
        ({"free": 400 << 20}, "disk", "warning"),
        ({"free": 99 << 20}, "disk", "error"),
        ({"backup": None}, "backup", "warning"),
        ({"backup": NOW - 8 * DAY}, "backup", "warning"),
        ({"runs": {"migrate": [a_run(state="failed"), a_run()]}}, "run-migrate", "error"),
        ({"runs": {"compact": [a_run(state="interrupted")]}}, "run-compact", "warning"),
        ({"runs": {"migrate": [a_run(state="running")]}}, "run-migrate", "warning"),
        ({"runs": {"rollback": [a_run(state="failed", reverts_id=4)]}}, "run-rollback", "error"),
        ({"runs": {"verify": [a_run(counts={"te": {"reflections": {"missing": 2}}})]}}, "differences", "warning"),
        ({"open_jobs": [a_job(state="running", heartbeat=NOW - 6 * MINUTE)]}, "stale", "error"),
        ({"open_jobs": [a_job(state="running", started_at=NOW - HOUR)]}, "stale", "error"),
        ({"open_jobs": [a_job(state="queued", created_at=NOW - 3 * MINUTE)]}, "no-worker", "error"),
        ({"ended_jobs": [a_job(state="failed", finished_at=NOW - DAY)]}, "failed-migrate", "warning"),
        ({"policies": [a_policy(last_state="failed", last_error="too much")]}, "policy-3", "warning"),
        ({"policies": [a_policy(next_due=NOW - 2 * HOUR)]}, "policy-3", "warning"),
        ({"policies": [a_policy()], "clock": None}, "maintenance", "warning"),
        ({"clock": Clock(trusted=NOW - 2 * DAY)}, "maintenance", "warning"),
        ({"clock": Clock(trusted=NOW, since=NOW - HOUR)}, "clock", "warning"),
    ],
)  # fmt: skip
def test_what_needs_attention_is_told(parts: dict[str, Any], name: str, severity: str) -> None:
    told = found(a_scene(**parts))
    if name != "unmigrated":
        told.pop("unmigrated", None)
    assert list(told) == [name]
    (one,) = told.values()
    assert one.severity == severity
    assert one.title
    assert len(one.text) > 10 or name == "policy-3"


@pytest.mark.parametrize(
    "parts",
    [
        {"figures": a_file(issues=None), "last_check": a_job(finished_at=NOW - DAY, result={"findings": []})},
        {"figures": a_file(journal=2**29)},
        {"figures": [Figures(domain=TE, store=SQL, is_small=False, counts=HELD, details={"tallies": {}})]},
        {"figures": a_file(written=NOW - 2 * DAY), "runs": {"migrate": [a_run()]}},
        {"figures": a_file(written=NOW, digest="1"), "runs": {"migrate": [a_run(sources={"te": "1"})]}},
        {"figures": a_file(written=NOW), "mode": Persistence.FILE, "is_ours": False},
        {"free": 501 << 20},
        {"free": None},
        {"backup": None, "figures": []},
        {"backup": None, "is_ours": False},
        {"backup": NOW - 7 * DAY},
        {"runs": {"migrate": [a_run(), a_run(state="failed")]}},
        {"runs": {"migrate": [a_run(state="running", started_at=NOW - HOUR)]}},
        {"runs": {"migrate": [a_run(state="rolled back")]}},
        {"open_jobs": [a_job(state="queued", created_at=NOW - MINUTE)]},
        {"open_jobs": [a_job(state="queued", created_at=NOW - HOUR), a_job(state="running", heartbeat=NOW)]},
        {"open_jobs": [a_job(state="queued", created_at=NOW - HOUR)], "has_own_workers": False},
        {"ended_jobs": [a_job(finished_at=NOW), a_job(state="failed", finished_at=NOW - HOUR)]},
        {"ended_jobs": [a_job(state="failed", finished_at=NOW - 8 * DAY)]},
        {"policies": [a_policy(last_state="failed", enabled=False), a_policy(next_due=NOW - DAY, enabled=False)]},
        {"policies": [a_policy(next_due=NOW - 2 * HOUR, claimed_by="a host")]},
        {"clock": None},
        {"clock": Clock(trusted=NOW - 23 * HOUR)},
    ],
)  # fmt: skip
def test_what_is_well_needs_none(parts: dict[str, Any]) -> None:
    assert found(a_scene(**parts)) == {}


def test_a_store_of_files_is_not_newer_than_what_nobody_uses() -> None:
    assert set(found(a_scene(figures=a_file(written=NOW), mode=Persistence.FILE))) == {"mode"}


def test_the_dead_are_told_together() -> None:
    dead = [a_job(pk=number, state="running", heartbeat=NOW - HOUR) for number in range(1, 9)]
    one = found(a_scene(open_jobs=dead))["stale"]
    assert one.title == "8 jobs have stopped responding"
    assert [link.label for link in one.links] == ["Job 1", "Job 2", "Job 3", "Job 4", "Job 5"]
    assert found(a_scene(open_jobs=dead[:1]))["stale"].title == "Job 1 (migrate) has stopped responding"


def test_the_worst_comes_first() -> None:
    snapshot = a_scene(backup=None, free=1, mode=Persistence.FILE, policies=[a_policy(last_state="failed")])
    weights = [one.severity for one in alerts(snapshot, lambda _: True)]
    assert weights == sorted(weights, key=list(Severity).index)
    assert weights[0] == Severity.ERROR
    assert weights[-1] == Severity.NOTE


def everything() -> DashboardSnapshot:
    return a_scene(
        figures=[
            *a_file(issues=(DAMAGE,), journal=2**31, written=NOW),
            *a_file(issues=(EDITED,)),
            *a_file(issues=None),
            Figures(domain=TE, store=SQL, is_small=False, counts=HELD),
        ],
        rejects=Counter(te=2000),
        backup=None,
        free=1,
        runs={
            "migrate": [a_run(state="failed")],
            "verify": [a_run(operation="verify", counts={"te": {"reflections": {"differ": 1}}})],
            "rollback": [a_run(operation="rollback", state="failed", reverts_id=4)],
        },
        open_jobs=[a_job(state="running", heartbeat=NOW - HOUR), a_job(pk=6, state="queued")],
        ended_jobs=[a_job(pk=7, state="failed", finished_at=NOW)],
        policies=[a_policy(last_state="failed"), a_policy(pk=4, next_due=NOW - DAY)],
        clock=Clock(trusted=NOW - 2 * DAY),
    )


@pytest.mark.django_db
def test_each_has_a_button_or_a_page_that_is_there(admin_client: Any) -> None:
    told = found(everything())
    assert len(told) == 18
    assert all(one.button or one.links for one in told.values())
    for one in told.values():
        assert (not one.starts) == (not one.button)
        assert not one.starts or one.starts in AT_ONCE
        for link in one.links:
            page = admin_client.get(link.address)
            is_of_a_row = any(word in link.address for word in ("/jobs/", "/change/"))  # none is in the database
            assert page.status_code == 200 or is_of_a_row, link
    addresses = [link.address for one in told.values() for link in one.links]
    assert "/admin/console/operations/migrate/?only=te&only_rejected=true" in addresses
    assert "/admin/console/operations/rollback/?run=4" in addresses
    assert "/admin/console/operations/preview/?policy=3" in addresses
    assert told["rejects-te"].title.startswith("more than 1000")


def test_who_may_start_nothing_gets_pages_to_look_at_alone() -> None:
    told = found(everything(), lambda _: False)
    assert set(told) == set(found(everything()))
    assert not any(one.button or one.starts for one in told.values())
    addresses = [link.address for one in told.values() for link in one.links]
    assert addresses
    assert not [one for one in addresses if "operations" in one]


def test_a_button_goes_with_the_right_to_what_it_starts() -> None:
    assert found(a_scene(backup=None), lambda name: name == "backup")["backup"].starts == "back-up"
    assert not found(a_scene(backup=None), lambda name: name != "backup")["backup"].button


def test_what_a_button_starts_is_an_operation_with_its_arguments() -> None:
    for operation, arguments in AT_ONCE.values():
        catalog.read(operation, arguments)
