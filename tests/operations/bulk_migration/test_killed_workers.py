"""Workers of a bulk migration are killed with -9: another one finishes what they had, each directory in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.killed_bulk_migration import EACH
from tests.support.postgresql import Unavailable
from tests.support.time_limits import time_limit
from tests.torture.databases import migrated
from tests.torture.program import SEED

ROOT = Path(__file__).parents[3]


def killed(
    kind: str, work: Path, directories: int, workers: int, kills: int, *more: str, seed: int = 0
) -> dict[str, Any]:
    try:
        with migrated(kind, work) as database:
            environment = {**os.environ, "DATABASE_URL": database.address, "DJANGO_SETTINGS_MODULE": "orbsite.settings"}
            environment |= {"ORB_TASKS_BACKEND": "db", "ORB_BACKUP_DIR": str(work / "backups")}
            numbers = map(str, (directories, workers, kills, seed))
            command = [sys.executable, "-m", "tests.support.killed_bulk_migration", str(work / "many"), *numbers, *more]
            ended = subprocess.run(
                command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, timeout=time_limit(280), check=True
            )
            result: dict[str, Any] = json.loads(ended.stdout)
            return result
    except Unavailable as problem:
        pytest.skip(str(problem))


def check(result: dict[str, Any], directories: int, kills: int, codes: list[int]) -> None:
    found = {name: value for name, value in result.items() if name not in ("seed", "tries", "in the middle")}
    assert found == {
        "kills": kills,
        "codes": codes,
        "states": {"done": directories},
        "complete runs of a directory": [1],
        "rows of runs that are not complete": 0,
        "runs of another directory": 0,
        "new": directories * (EACH + 2),
        "written twice": 0,
        "unverified": 0,
        "rows": [directories * EACH, directories, directories],
    }, result


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_each_directory_is_migrated_once_though_workers_are_killed(kind: str, tmp_path: Path) -> None:
    check(killed(kind, tmp_path, 24, 2, 4), 24, 4, codes=[0])


@pytest.mark.scale
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "how"), [("sqlite", ""), ("sqlite", "queue"), ("postgresql", ""), ("postgresql", "queue")]
)
def test_each_of_many_directories_is_migrated_once_though_workers_are_killed(
    kind: str, how: str, tmp_path: Path
) -> None:
    result = killed(kind, tmp_path, 200, 3, 20, *filter(None, [how]), seed=int(SEED))
    print(json.dumps({"database": kind, "how": how or "command", **result}))  # noqa: T201 -- the figures of a harness
    check(result, 200, 20, codes=[] if how else [0])
    assert result["in the middle"] > 0
