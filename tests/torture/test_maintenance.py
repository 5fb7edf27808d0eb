from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hosts import Scene, check
from tests.torture.databases import opened

pytestmark = pytest.mark.torture
SECONDS = 60.0


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_each_due_moment_runs_once_for_a_minute_though_a_host_is_killed(tmp_path: Path, kind: str) -> None:
    with opened(kind, tmp_path) as database:
        scene = Scene(database, tmp_path)
        scene.play(SECONDS)
        check(scene)
        figures = {"database": kind, "seconds": SECONDS, "runs": sum(map(len, scene.runs().values()))}
        print(json.dumps(figures))  # noqa: T201 -- the figures of a harness
