"""A migration is killed, loses its database, has company, and is undone: what SQL holds in the end is always the same.

ORB_SEED makes it the same again, ORB_ROUNDS and ORB_SIZE larger.
"""

from __future__ import annotations

import os

import pytest

from tests.torture.program import SEED, run

pytestmark = [pytest.mark.torture, pytest.mark.timeout(600)]

ROUNDS = int(os.environ.get("ORB_ROUNDS", "0"))
DATABASES = ["sqlite", "postgresql"]


def rounds(usual: int) -> str:
    return str(max(usual, ROUNDS))


@pytest.mark.parametrize("database", DATABASES)
def test_it_may_be_killed_at_every_commit(database: str) -> None:
    result = run("kills", "commits", database, SEED, "0")
    assert result["kills"] == 2 * result["commits"] > 30
    assert result["violations"] == []


@pytest.mark.parametrize(("database", "usual"), [("sqlite", 50), ("postgresql", 15)])
def test_it_may_be_killed_at_any_moment(database: str, usual: int) -> None:
    result = run("kills", "random", database, SEED, rounds(usual))
    assert result["kills"] + result["too late"] >= usual
    assert result["violations"] == []


@pytest.mark.parametrize("database", DATABASES)
def test_batches_that_are_committed_in_pieces_are_found_out(database: str) -> None:
    violations = run("kills", "commits", database, SEED, "10", "early-commits")["violations"]
    assert any("not as without a fault" in one for one in violations)


@pytest.mark.parametrize(("kind", "usual"), [("crash", 10), ("terminate", 20)])
def test_postgresql_may_go_away_at_any_moment(kind: str, usual: int) -> None:
    result = run("faults_of_postgresql", kind, SEED, rounds(usual))
    assert result["faults"] > usual // 5  # others came after the end
    assert result["violations"] == []


def test_the_connection_may_break_at_a_commit() -> None:
    result = run("faults_of_postgresql", "cut", SEED, rounds(20))
    assert result["faults"] >= 20
    assert result["violations"] == []


@pytest.mark.parametrize("database", DATABASES)
def test_of_two_at_once_one_proceeds(database: str) -> None:
    result = run("company", "two", database, SEED, rounds(10))
    assert (result["rounds"] >= 10, result["violations"]) == (True, [])


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("kind", ["store", "rewrite"])
def test_a_file_that_changes_meanwhile_is_never_taken_by_halves(kind: str, database: str) -> None:
    result = run("company", kind, database, SEED, "0")
    assert result["edits"] == result["old"] + result["new"] >= 4
    assert result["violations"] == []


@pytest.mark.parametrize("database", DATABASES)
def test_only_the_rows_of_what_has_changed_are_written(database: str) -> None:
    result = run("company", "again", database, SEED, rounds(6))
    assert result["changes"] > 50
    assert result["violations"] == []


@pytest.mark.parametrize("database", DATABASES)
def test_a_rollback_may_be_killed_at_every_commit(database: str) -> None:
    result = run("rollbacks", "commits", database)
    assert (result["edited"], result["kills"]) == (10, 2 * result["commits"])
    assert result["violations"] == []


def test_what_was_killed_half_way_may_be_undone_half_way() -> None:
    assert run("rollbacks", "stopped", "sqlite")["violations"] == []
