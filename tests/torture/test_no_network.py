"""Nothing here calls anywhere: much of the suite, in a network of its own that has no routes but to itself. Needs root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.time_limits import time_limit

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.torture, pytest.mark.timeout(900)]
APART = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
PARTS = {
    "api": ["tests/api/test_users.py", "tests/api/test_tokens.py", "-m", "not slow"],
    "served": ["tests/api/test_client.py"],
    "surfaces": ["tests/admin/test_admin.py", "tests/management/test_commands.py", "tests/management/test_import.py",
                 "tests/admin/test_jobs_and_policies.py", "tests/management/test_backup_commands.py"],
    "operations": ["tests/operations/jobs/test_jobs.py", "tests/operations/scheduling/test_maintenance.py", "tests/operations/backup/test_backup.py"],
}  # fmt: skip
CALLS = """
import socket, sys
answers = 0
for place in (("192.0.2.1", 80), ("1.1.1.1", 53), ("2001:db8::1", 443), ("pypi.org", 443)):
    try:
        socket.create_connection(place, timeout=2).close()
        answers += 1
    except OSError as problem:
        sys.stdout.write(f"{place[0]}: {problem}\\n")
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname(), timeout=2).close()
sys.exit(answers)
"""


def _apart(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*APART, *command],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ORB_"))},
        capture_output=True,
        text=True,
        check=False,
        timeout=time_limit(880),
    )


def test_nobody_can_be_called_there_but_oneself() -> None:
    done = _apart(sys.executable, "-c", CALLS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n") == 4, "each call failed at once"


@pytest.mark.parametrize("part", PARTS)
def test_everything_passes_where_nobody_can_be_called(part: str) -> None:
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--show-capture=no", "--numprocesses", "0"]
    done = _apart(sys.executable, *command, *PARTS[part])
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
