"""Bodies that are made to be expensive are refused at little cost; large ones that are fine are taken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orbsite.storage.encoding import json_parser
from tests.api.hostile_bodies import BODIES, FINE, PAGED_SIZE, PAGES, SIZE
from tests.support.effort import effort
from tests.support.serving import ROOT, production
from tests.support.time_limits import time_limit

pytestmark = pytest.mark.slow

STEP = effort(4, 2)
"""Every so many of the bodies are sent."""
SECONDS, MIB, LIST_MIB = 1.0, 150, 200


@pytest.fixture(scope="module", params=["memory", "sql"])
def costs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    work: Path = tmp_path_factory.mktemp("hostile")
    environment = production(work, DATABASE_URL=f"sqlite:///{work}/orb.sqlite3", ORB_PERSISTENCE=request.param)
    command = [sys.executable, "-m", "tests.api.hostile_bodies", "lists" if request.param == "memory" else str(STEP)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=time_limit(280)
    )
    return {one["kind"]: one for one in map(json.loads, done.stdout.splitlines())}


@pytest.mark.deep
@pytest.mark.parametrize("costs", ["sql"], indirect=True)  # the store sees none of them
def test_bodies_that_are_made_to_be_expensive_are_refused_at_little_cost(costs: dict[str, dict[str, Any]]) -> None:
    assert len(BODIES) > 30
    for kind in list(BODIES)[::STEP]:
        cost = costs[kind]
        assert cost["bytes"] > SIZE - 1024
        assert cost["status"] in (400, 413), cost
        assert cost["seconds"] <= SECONDS * max(1.0, cost["slowness"]), cost
        assert cost["MiB"] <= MIB, cost
        assert cost["answered"] < 100_000, cost
    for kind in FINE:
        assert costs[kind]["status"] == 201, costs[kind]
        assert costs[kind]["MiB"] <= MIB, costs[kind]


@pytest.mark.slow
def test_a_list_of_large_records_takes_little_memory(costs: dict[str, dict[str, Any]]) -> None:
    for place in PAGES:
        if place in costs:
            assert costs[place]["status"] == 200
            assert costs[place]["MiB"] <= LIST_MIB, costs[place]
    assert costs["reflections"]["answered"] > PAGED_SIZE


def is_refused(data: bytes, most: int) -> bool:
    try:
        json_parser.refuse_too_many(data, most)
    except json_parser.TooMany:
        return True
    return False


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"[1, 2, 3]", 4),
        (b'{"a": 1, "b": [true, null]}', 7),
        (b'["a,b,c", "[{[{", "\\"", "\\\\", ",\\",,\\\\"]', 6),
        (b'{"a,,,": {"b": ["c,,,,"]}}', 6),
    ],
)
def test_values_are_counted_and_what_stands_in_texts_is_none(data: bytes, number: int) -> None:
    assert not is_refused(data, number)
    assert is_refused(data, number - 1)


def test_a_text_is_one_value_however_many_commas_it_has() -> None:
    assert not is_refused(b'["' + b',[{:\\"' * 100_000 + b'"]', 2)
    assert is_refused(b'["' + b',[{:\\"' * 100_000 + b'", 1, 2, 3]', 4)
