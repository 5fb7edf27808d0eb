from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.hosts import Scenario, check
from tests.torture.databases import migrated

pytestmark = pytest.mark.torture


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("kind", "seconds"), [("sqlite", 20.0), ("postgresql", 60.0)])
def test_each_due_moment_runs_once_though_a_host_is_killed(tmp_path: Path, kind: str, seconds: float) -> None:
    with migrated(kind, tmp_path) as database:
        dataset = Scenario(database, tmp_path)
        dataset.play(seconds)
        check(dataset)
        figures = {"database": kind, "seconds": seconds, "runs": sum(map(len, dataset.runs().values()))}
        print(json.dumps(figures))  # noqa: T201 -- the figures of a harness
