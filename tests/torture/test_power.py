"""The power goes at random moments, on real file systems, while documents or SQLite are written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torture

SEED = int(os.environ.get("ORB_SEED", "11"))
ROUNDS = int(os.environ.get("ORB_ROUNDS", "100"))
APART = ("unshare", "--mount")
"""No other test's namespace gets a copy of the mounts, which would keep a file system mounted without its power."""


def _run(kind: str, work: Path, rounds: int, *mode: str) -> dict[str, int]:
    command = [*APART, sys.executable, "-m", "tests.torture.power", kind, str(work), str(rounds), str(SEED), *mode]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    root = Path(__file__).parents[2]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, cwd=root, env=environment, check=True).stdout)
    sys.stdout.write(f"power cut: {kind} {' '.join(mode)}, seed {SEED}, {rounds} rounds, {result}\n")
    return result


@pytest.mark.parametrize("mode", ["file", "journal", "sqlite"])
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_nothing_acknowledged_is_lost(kind: str, mode: str, tmp_path: Path) -> None:
    rounds = ROUNDS if mode != "sqlite" else ROUNDS * 3 // 5
    result = _run(kind, tmp_path, rounds, mode)
    assert result["acknowledged"] > rounds
    assert (result["lost"], result["unreadable"]) == (0, 0)


@pytest.mark.parametrize(
    "mutant", [("file", "no-sync"), ("file", "no-directory-sync"), ("journal", "no-sync")], ids="-".join
)
def test_a_store_that_does_not_sync_loses_something(mutant: tuple[str, str], tmp_path: Path) -> None:
    result = _run("ext4", tmp_path, 20, *mutant)
    assert result["lost"] + result["unreadable"] > 0


def test_djangos_own_options_for_sqlite_lose_something(tmp_path: Path) -> None:
    assert _run("ext4", tmp_path, 60, "sqlite", "djangos-own-options")["lost"] > 0
