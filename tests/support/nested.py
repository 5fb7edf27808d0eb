"""A run of some suites of the tests in a process of its own, with other settings."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.serving import ROOT
from tests.support.time_limits import time_limit

OF_SQLITE = [
    "tests/api/test_unreadable.py",  # its cells are SQLite's
    "tests/api/test_tokens.py::test_who_reads_is_answered_also_where_the_use_cannot_be_noted",
    "tests/api/test_users.py::test_while_a_run_is_under_way_nobody_is_erased_and_the_answer_says_which",
]
"""What the suites try with SQLite's own statements and locks."""


def number_passed(*options: str, **environment: str) -> int:
    """Run pytest, assert that nothing fails, and return how many tests have passed."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ORB_", "DJANGO_"))}
    quiet = ["-q", "-p", "no:cacheprovider", "--show-capture=no", "--numprocesses", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *quiet, *options],
        cwd=ROOT,
        env={**usual, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=time_limit(880),
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return int(done.stdout.split(" passed")[0].rsplit(maxsplit=1)[-1])
