"""Writers killed with -9 at random moments: nothing that they acknowledged is lost, and the file is always whole.

ORB_DEEP makes it longer, and ORB_SEED repeats a run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.effort import effort

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("ORB_SEED", "11"))
ROUNDS = effort(40, 500)


def _run(base: Path, rounds: int, *mode: str) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.support.kill", str(base), str(rounds), str(SEED), *mode]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    root = Path(__file__).parents[3]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, check=True)
    return json.loads(ended.stdout)


@pytest.mark.deep
@pytest.mark.parametrize("mode", ["file", "journal"])
def test_nothing_acknowledged_is_lost(tmp_path: Path, mode: str) -> None:
    result = _run(tmp_path / "data", ROUNDS, mode)
    sys.stdout.write(f"kill -9: seed {SEED}, {mode}, {ROUNDS} rounds, {result}\n")
    assert result["acknowledged"] > 0.9 * ROUNDS
    assert (result["lost"], result["unreadable"]) == (0, 0)


@pytest.mark.parametrize("mutant", [("file", "no-lock"), ("file", "in-place"), ("journal", "no-lock")], ids="-".join)
def test_a_store_without_its_guard_loses_something(tmp_path: Path, mutant: tuple[str, str]) -> None:
    result = _run(tmp_path / "data", 60, *mutant)
    assert result["lost"] + result["unreadable"] > 0
