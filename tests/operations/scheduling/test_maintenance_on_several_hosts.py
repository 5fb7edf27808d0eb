"""Two hosts run maintenance in a loop over twenty policies: each due moment once, though one of them is killed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.hosts import Scenario, check
from tests.support.postgresql import Unavailable
from tests.torture.databases import migrated

SECONDS = 3.0


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_each_due_moment_runs_once_though_a_host_is_killed(tmp_path: Path, kind: str) -> None:
    with ExitStack() as stack:
        try:
            database = stack.enter_context(migrated(kind, tmp_path))
        except Unavailable as problem:
            pytest.skip(str(problem))
        dataset = Scenario(database, tmp_path)
        dataset.play(SECONDS)
        check(dataset)
