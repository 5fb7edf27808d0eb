"""Looking for damage writes nothing: the part of bar R13 that takes a system tracer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.harness import reflections_with_a_journal
from tests.support.time_limits import time_limit

pytestmark = pytest.mark.torture

ROOT = Path(__file__).parents[2]
WRITING = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC")
CHANGING = "openat,open,creat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,truncate,ftruncate"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return reflections_with_a_journal(tmp_path / "data")


def test_looking_opens_nothing_for_writing(base: Path, tmp_path: Path) -> None:
    (base / "te/reflections.json").write_bytes(b"{")
    (base / f"te/.reflections.json.{2**22 + 1}.abcdef01.tmp").write_bytes(b"left")
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-o", str(trace), "-e", f"trace={CHANGING}", sys.executable, "manage.py"]
    command += ["check_orb_files", "--data-dir", str(base)]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=time_limit(100))
    assert done.returncode == 1, done.stderr
    lines = [line for line in trace.read_text().splitlines() if "reflections" in line or str(base) in line]
    assert any("openat" in line for line in lines)
    changes = [line for line in lines if "open" not in line.split("(")[0] or any(flag in line for flag in WRITING)]
    assert changes == []
