"""Erasures in random order with all else that moves records, and killed at each step, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.effort import effort
from tests.support.time_limits import time_limit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
VENDORS = ("sqlite", "postgresql")
SEED = int(os.environ.get("ORB_SEED", "20261128"))
ROUNDS = effort(3, 12)


def told(module: str, *arguments: str) -> Any:
    command = [sys.executable, "-m", f"tests.support.{module}", *arguments]
    limit = time_limit(120 + 5 * ROUNDS)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.deep
@pytest.mark.parametrize("vendor", VENDORS)
def test_whatever_comes_before_and_after_an_erasure_nothing_old_comes_back(tmp_path: Path, vendor: str) -> None:
    found = told("erasing", vendor, str(tmp_path / "work"), str(SEED), str(ROUNDS))
    assert found == {"rounds": ROUNDS, "wrong": []}, f"ORB_SEED={SEED}"


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_erasure_that_is_killed_keeps_the_user_out_and_the_next_one_completes_it(
    tmp_path: Path, vendor: str
) -> None:
    found = told("killed_erasures", vendor, str(tmp_path / "work"))
    assert len(found) == 7
    assert not any(found.values()), found
