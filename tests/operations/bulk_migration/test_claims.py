"""A claim is held by one worker, and once another one has it, the first can neither finish nor put back the directory."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbsite.models.bulk_migrations import BulkDirectory, BulkMigration, DirectoryState, identity_of
from orbsite.models.ledger import Run
from orbsite.operations.bulk_migration import claims
from orbsite.operations.bulk_migration.claims import MOST_TRIES, Claim, ClaimLost, take
from orbsite.operations.report import Report
from orbsite.operations.workers.heartbeat import MonitoredProgress
from orbsite.operations.workers.workers import a_name, a_name_with_place, is_gone
from tests.support.effort import effort

pytestmark = [pytest.mark.django_db(databases="__all__"), pytest.mark.usefixtures("on_each_database")]
BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
STALE = timedelta(minutes=5)
SECOND = timedelta(seconds=1)


def bulk_of(number: int) -> BulkMigration:
    bulk = BulkMigration.objects.create(**identity_of(Path(f"/data/{a_name()}")), created_at=BEGIN)
    BulkDirectory.objects.bulk_create(
        [BulkDirectory(bulk=bulk, **identity_of(Path(f"/data/{one}"))) for one in range(number)]
    )
    return bulk


def a_run() -> Run:
    return Run.objects.create(operation="migrate", started_at=BEGIN)


def taken(bulk: BulkMigration, worker: str = "w", moment: datetime = BEGIN) -> Claim:
    claim = take(bulk, worker, moment, STALE)
    assert claim is not None
    return claim


def row_of(claim: Claim) -> BulkDirectory:
    return BulkDirectory.objects.get(pk=claim.directory.pk)


def test_directories_are_taken_in_order_each_by_one_worker() -> None:
    bulk = bulk_of(2)
    first, second = taken(bulk, "a"), taken(bulk, "b")
    assert [first.directory.name, second.directory.name] == ["/data/0", "/data/1"]
    assert take(bulk, "c", BEGIN, STALE) is None
    assert (row_of(first).worker, row_of(second).worker) == ("a", "b")


def test_of_two_workers_that_saw_the_same_directory_one_has_it() -> None:
    bulk = bulk_of(1)
    (seen,) = BulkDirectory.objects.filter(bulk=bulk)
    assert claims._claim(seen, "a", BEGIN) is not None
    assert claims._claim(seen, "b", BEGIN) is None
    assert BulkDirectory.objects.get(bulk=bulk).worker == "a"


def test_a_directory_is_taken_over_once_its_worker_is_silent_and_the_reason_is_kept() -> None:
    bulk = bulk_of(1)
    slow = taken(bulk, "slow")
    assert take(bulk, "b", BEGIN + STALE, STALE) is None
    assert slow.beat(BEGIN + STALE, MonitoredProgress())
    assert take(bulk, "b", BEGIN + STALE + SECOND, STALE) is None
    moment = BEGIN + 2 * STALE + SECOND
    quick = taken(bulk, "quick", moment)
    row = row_of(quick)
    assert (row.worker, row.tries) == ("quick", 2)
    assert row.error.startswith("its worker slow has sent no heartbeat since ")


def test_a_worker_that_has_lost_its_claim_changes_nothing() -> None:
    bulk, run = bulk_of(1), a_run()
    slow = taken(bulk, "slow")
    quick = taken(bulk, "quick", BEGIN + STALE + SECOND)
    before = BulkDirectory.objects.filter(bulk=bulk).values().get()
    assert not slow.beat(BEGIN + STALE + SECOND, MonitoredProgress())
    assert not slow.give_up("late", BEGIN)
    assert not slow.put_back()
    with pytest.raises(ClaimLost, match="another worker has taken over /data/0; its run is resumed there"):
        slow.complete(run, Report(), BEGIN)
    assert BulkDirectory.objects.filter(bulk=bulk).values().get() == before
    quick.complete(run, Report(), BEGIN)
    with pytest.raises(ClaimLost):
        quick.complete(run, Report(), BEGIN)


def test_a_directory_waits_longer_after_each_error_and_fails_after_the_last() -> None:
    bulk, moment = bulk_of(1), BEGIN
    for number in range(1, MOST_TRIES + 1):
        claim = taken(bulk, moment=moment)
        assert claim.give_up(f"error {number}", moment)
        delay = SECOND * 2 ** (number - 1)
        if number < MOST_TRIES:
            assert take(bulk, "w", moment + delay - SECOND / 2, STALE) is None
        moment += delay
    row = row_of(claim)
    assert (row.state, row.tries, row.error) == (DirectoryState.FAILED, MOST_TRIES, f"error {MOST_TRIES}")
    assert take(bulk, "w", moment + timedelta(days=1), STALE) is None


def test_a_directory_whose_workers_die_each_time_fails() -> None:
    bulk, moment = bulk_of(1), BEGIN
    for number in range(MOST_TRIES):
        claim = taken(bulk, f"w{number}", moment)
        moment += STALE + SECOND
    assert take(bulk, "last", moment, STALE) is None
    row = row_of(claim)
    assert (row.state, row.tries) == (DirectoryState.FAILED, MOST_TRIES)
    assert row.error.startswith(f"its worker w{MOST_TRIES - 1} has sent no heartbeat since ")


def test_a_directory_that_was_put_back_costs_no_try() -> None:
    bulk = bulk_of(1)
    for _ in range(2 * MOST_TRIES):
        assert taken(bulk).put_back()
    assert BulkDirectory.objects.get(bulk=bulk).tries == 0


def test_a_worker_of_this_host_whose_process_has_ended_is_replaced_at_once() -> None:
    bulk = bulk_of(1)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    name = a_name_with_place().replace(f":{os.getpid()}:", f":{child}:")
    taken(bulk, name)
    assert taken(bulk, "b").directory.worker == name


def test_only_a_process_that_can_be_seen_from_here_counts_as_ended() -> None:
    own = a_name_with_place()
    host, process, token, place = own.rsplit(":", 3)
    assert process == str(os.getpid())
    assert not is_gone(own)
    assert is_gone(f"{host}:{2**22 + 1}:{token}:{place}")  # above the largest number of a process
    assert not is_gone(f"{host}:{2**22 + 1}:{token}:00000000")
    assert not is_gone(f"{host}:{2**22 + 1}:{token}")
    assert not is_gone("")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "beat", "complete", "complete", "fail", "put back", "wait", "long wait"]),
        st.integers(0, 5),
    ),
    max_size=60,
)


@pytest.mark.deep
@settings(max_examples=effort(12, 500), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_workers_do_a_directory_is_completed_once_by_its_latest_claim(steps: list[tuple[str, int]]) -> None:
    bulk, run, moment = bulk_of(3), a_run(), BEGIN
    held: list[Claim] = []
    latest: dict[int, int] = {}
    completed: Counter[int] = Counter()
    open_claims: set[tuple[int, int]] = set()
    for what, number in steps:
        moment += {"wait": 30 * SECOND, "long wait": STALE}.get(what, SECOND)
        if what == "take":
            claim = take(bulk, f"w{number}", moment, STALE)
            if claim is not None:
                assert claim.number > latest.get(claim.directory.pk, 0)
                latest[claim.directory.pk] = claim.number
                open_claims = {one for one in open_claims if one[0] != claim.directory.pk}
                open_claims.add((claim.directory.pk, claim.number))
                held.append(claim)
        elif held and "wait" not in what:
            claim = held[number % len(held)]
            identity = (claim.directory.pk, claim.number)
            assert _does(claim, what, run, moment) == (identity in open_claims)
            if what != "beat":
                completed[claim.directory.pk] += what == "complete" and identity in open_claims
                open_claims.discard(identity)
    assert all(number == 1 for pk, number in completed.items() if number)
    rows = BulkDirectory.objects.filter(bulk=bulk)
    assert {row.pk for row in rows if row.state == DirectoryState.DONE} == {pk for pk in completed if completed[pk]}
    assert {row.pk for row in rows if row.state == DirectoryState.RUNNING} >= {pk for pk, _ in open_claims} - {
        row.pk for row in rows if row.state == DirectoryState.FAILED
    }


def _does(claim: Claim, what: str, run: Run, moment: datetime) -> bool:
    """Do something with a claim, and return whether it held."""
    act: dict[str, Any] = {
        "beat": lambda: claim.beat(moment, MonitoredProgress()),
        "fail": lambda: claim.give_up("an error", moment),
        "put back": claim.put_back,
        "complete": lambda: claim.complete(run, Report(), moment) is None,
    }
    try:
        return bool(act[what]())
    except ClaimLost:
        return False
