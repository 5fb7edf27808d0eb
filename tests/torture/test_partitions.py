"""The suites of the contract, of retention and of the API on tables that are partitioned by time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.serving import ROOT
from tests.support.time_limits import time_limit
from tests.torture.test_pgbouncer import OF_SQLITE

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]
QUICK = "not slow and not torture and not scale"
PARTS = {
    "contract": ["tests/contract", "-m", QUICK],
    "retention": [
        "tests/operations/retention/test_retention.py",
        "tests/operations/records/test_erase.py",
        "--deselect=tests/operations/records/test_erase.py::test_a_restore_brings_nobody_back_and_keeps_the_list",
    ],  # a restore in place is refused
    "api": [
        "tests/api",
        "--ds=tests.pooled_settings",
        *(f"--deselect={name}" for name in (*OF_SQLITE, "tests/api/test_routing.py")),  # it parses statements
        *("-m", QUICK, "-k", "not sqlite"),
    ],
}


@pytest.mark.parametrize("part", PARTS)
def test_the_suites_pass_on_partitions(part: str) -> None:
    options = ["-q", "-p", "no:cacheprovider", "--show-capture=no", "--numprocesses", "0", "-k", "postgresql"]
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ORB_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *PARTS[part]],
        cwd=ROOT,
        env={**usual, "ORB_TESTS_PARTITIONS": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=time_limit(880),
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(done.stdout.split(" passed")[0].rsplit(maxsplit=1)[-1]) > 20
