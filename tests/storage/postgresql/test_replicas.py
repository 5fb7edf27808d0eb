"""Reads from a streaming replica: never older than what the reader has to see, and never from one that is not fit."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction

from orbsite.conf.postgresql_checks import check_replicas
from orbsite.models.ledger import Run
from orbsite.storage.postgresql import replicas
from orbsite.storage.postgresql.replicas import Condition, Replicas, conditions, position, read_from_replica
from orbsite.storage.postgresql.router import ReplicaRouter
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.pgbouncer import or_skipped
from tests.support.postgresql import Server
from tests.support.replicas import REPLICA, asked, caught_up, primary, read_own_writes, reflection, replicated
from tests.support.scratch import ALIAS

pytestmark = pytest.mark.slow
ROUNDS = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with or_skipped(), primary(tmp_path_factory.mktemp("primary")) as server:
        yield server


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return self.passed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(replicas, "_replicas", Replicas(clock))
    return clock


@pytest.fixture
def replica(server: Server, clock: Clock, django_db_blocker: Any) -> Iterator[Server]:
    """A standby, which `conditions` and reads know by a clock that stands still."""
    with django_db_blocker.unblock(), replicated(server) as standby:
        yield standby


def _names(after: int) -> tuple[set[str], bool]:
    """Return the ids of all reflections that are read, and whether a replica gave them."""

    def read() -> set[str]:
        return {one.id for one in SqlStore(TE, replicas.reading_from() or ALIAS).find(Reflection, {})}

    return read_from_replica(read, after, ALIAS)


def test_no_client_misses_what_it_has_saved_and_the_replica_takes_reads(replica: Server) -> None:
    outcome = read_own_writes(ROUNDS, 3)
    assert (outcome.errors, outcome.stale) == ([], 0)
    assert outcome.reads.total() == 2 * ROUNDS
    assert outcome.reads[REPLICA] > 0


def test_a_replica_whose_replay_pauses_gives_nothing_that_is_too_old(
    server: Server, replica: Server, clock: Clock
) -> None:
    store = SqlStore(TE, ALIAS)
    asked(replica, "SELECT pg_wal_replay_pause()")
    (before,) = asked(replica, "SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint")
    assert _names(0)[1], "whoever has saved nothing may read what is some seconds old"
    store.put([reflection("saved-while-paused")])
    names, is_of_replica = _names(position(ALIAS) or 0)
    assert ("saved-while-paused" in names, is_of_replica) == (True, False)
    names, is_of_replica = _names(before)
    assert ("saved-while-paused" in names, is_of_replica) == (False, True)
    for _ in range(14):  # a second each
        clock.passed += 1.0
        names, is_of_replica = _names(0)
    assert ("saved-while-paused" in names, is_of_replica) == (True, False)
    assert conditions(ALIAS) == {REPLICA: Condition.LAGGING}
    asked(replica, "SELECT pg_wal_replay_resume()")
    caught_up(server, replica)
    clock.passed += 2.0
    assert _names(0)[1]
    store.delete(Reflection, [reflection("saved-while-paused").key])


def test_a_process_that_has_just_begun_does_not_trust_a_replica_that_is_behind(replica: Server, clock: Clock) -> None:
    store = SqlStore(TE, ALIAS)
    asked(replica, "SELECT pg_wal_replay_pause()")
    store.put([reflection("saved-before")])
    clock.passed = 3600.0
    names, is_of_replica = _names(0)
    assert ("saved-before" in names, is_of_replica) == (True, False)
    store.delete(Reflection, [reflection("saved-before").key])


def test_a_replica_that_stops_costs_no_reader_an_error_and_is_used_again_when_it_is_back(
    server: Server, replica: Server, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "orbsite.storage.postgresql.replicas"):
        outcome = read_own_writes(ROUNDS, 3, between=lambda: replica.stop("immediate"))
    assert (outcome.errors, outcome.stale) == ([], 0)
    assert conditions(ALIAS) == {REPLICA: Condition.UNREACHABLE}
    assert sum("is unreachable" in line for line in caplog.messages) == 1
    replica.start()
    caught_up(server, replica)
    assert conditions(ALIAS) == {REPLICA: Condition.UNREACHABLE}, "it is left out for some seconds"
    clock.passed += 6.0
    assert conditions(ALIAS) == {REPLICA: Condition.FIT}


def test_a_replica_that_is_promoted_is_left_out(server: Server, replica: Server, clock: Clock) -> None:
    def promote() -> None:
        replica.promote()
        clock.passed += 2.0

    outcome = read_own_writes(ROUNDS, 3, between=promote)
    assert (outcome.errors, outcome.stale) == ([], 0)
    assert outcome.reads[ALIAS] > 0
    asked(replica, "INSERT INTO te_reflections SELECT * FROM te_reflections LIMIT 0")  # it takes writes now
    clock.passed += 6.0
    assert conditions(ALIAS) == {REPLICA: Condition.PROMOTED}
    assert not _names(0)[1]


def test_a_check_tells_of_a_replica_that_is_none(server: Server, replica: Server) -> None:
    assert check_replicas(databases=[ALIAS]) == []

    def found(**place: str) -> list[str | None]:
        connections[REPLICA].close()
        connections[REPLICA].settings_dict.update(place)
        return [message.id for message in check_replicas(databases=[ALIAS])]

    assert found(NAME="template1") == ["orb.E027"]
    assert found(HOST=server.host, NAME="orb") == ["orb.E028"]
    assert found(HOST="/nowhere") == ["orb.W006"]


def test_an_error_on_the_replica_alone_is_repeated_on_the_primary(replica: Server) -> None:
    tried: list[str] = []

    def read() -> str:
        tried.append(replicas.reading_from() or ALIAS)
        with connections[tried[-1]].cursor() as cursor:
            cursor.execute("SELECT 1 / (1 - pg_is_in_recovery()::int)")
        return tried[-1]

    assert read_from_replica(read, 0, ALIAS) == (ALIAS, False)
    assert tried == [REPLICA, ALIAS]
    assert replicas.reading_from() is None


def test_in_a_transaction_the_primary_is_read(replica: Server) -> None:
    with transaction.atomic(ALIAS):
        assert not _names(0)[1]
    assert _names(0)[1]


def test_the_router_reads_from_the_chosen_replica_and_writes_to_the_primary(replica: Server) -> None:
    router = ReplicaRouter()
    assert router.db_for_read(Run) is None
    assert read_from_replica(lambda: router.db_for_read(Run), 0, ALIAS) == (REPLICA, True)
    row, own = Run(), Run()
    row._state.db, own._state.db = REPLICA, ALIAS
    assert (router.db_for_read(Run, instance=row), router.db_for_write(Run, instance=row)) == (ALIAS, ALIAS)
    assert router.db_for_write(Run, instance=own) is None
    assert router.allow_relation(row, own)
    assert (router.allow_migrate(REPLICA, "te"), router.allow_migrate(ALIAS, "te")) == (False, None)
