"""A process is killed, or its calls to the system fail, at each call in turn: bars R2, R3, R4 and R7 for documents.

ORB_SEED makes it the same again; ORB_ROUNDS is the number of compound runs, and from 1,000 on every error is tried.
"""

from __future__ import annotations

import os

import pytest

from tests.torture.program import SEED, run

pytestmark = pytest.mark.torture

ROUNDS = os.environ.get("ORB_ROUNDS", "200")
SCENES = ["file", "journal"]


@pytest.mark.parametrize("scenes", SCENES)
def test_a_process_may_be_killed_at_any_call(scenes: str) -> None:
    result = run("faults", "kill", scenes, SEED, ROUNDS)
    assert result["faults"] > 150
    assert result["violations"] == []


@pytest.mark.parametrize("scenes", SCENES)
def test_any_call_may_fail_once_or_for_ever(scenes: str) -> None:
    result = run("faults", "error", scenes, SEED, ROUNDS)
    assert result["faults"] > 500
    assert result["violations"] == []


@pytest.mark.parametrize("scenes", SCENES)
def test_a_sync_that_fails_is_told_and_never_tried_again(scenes: str) -> None:
    result = run("faults", "sync", scenes, SEED, ROUNDS)
    assert {"SaveFailed", "SaveOutcomeUnknown"} <= result["outcomes"].keys()
    assert result["violations"] == []


def test_a_recovery_may_fail_as_well() -> None:
    result = run("faults", "compound", "", SEED, ROUNDS)
    assert result["faults"] > int(ROUNDS)
    assert result["violations"] == []


@pytest.mark.parametrize(
    ("kind", "scenes", "mutant"),
    [
        ("kill", "file", "in-place"),
        ("kill", "file-over", "no-announcement"),
        ("error", "file", "in-place"),
        ("error", "file", "no-clean-up"),
        ("sync", "file", "sync-again"),
        ("sync", "journal", "sync-again"),
        ("compound", "", "in-place"),
        ("compound", "file-over", "no-announcement"),
    ],
)
def test_a_store_without_its_guard_is_found_out(kind: str, scenes: str, mutant: str) -> None:
    assert run("faults", kind, scenes, SEED, ROUNDS, mutant)["violations"]
