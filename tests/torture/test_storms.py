"""Storms of conflicts, deadlocks and locks in SQL: every save comes to its end once, and none is tried for ever."""

from __future__ import annotations

import pytest

from tests.torture.program import SEED, run

pytestmark = pytest.mark.torture

WRITERS, SAVES, MOST_RETRIES = "8", "100", 5


@pytest.mark.parametrize(
    ("mode", "database"),
    [
        ("few", "sqlite-impatient"),
        ("few", "postgresql-serializable"),
        ("crossing", "sqlite-impatient"),
        ("crossing", "postgresql"),
    ],
)
def test_what_is_tried_again_is_saved_once(mode: str, database: str) -> None:
    result = run("writers", mode, database, SEED, WRITERS, SAVES)
    assert result["violations"] == []
    assert result["saves"] == int(WRITERS) * int(SAVES)
    assert result["retries"] > 0
    assert result["most retries"] <= MOST_RETRIES


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_that_was_cut_off_is_told_and_reading_again_resolves_it(when: str) -> None:
    result = run("commits", when, SEED, "30")
    assert (result["cuts"], result["violations"]) == (30, [])
