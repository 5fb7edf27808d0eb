"""Everything that the OpenAPI document allows, and what it does not, a little of each. `make torture` tries much more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.api.fuzzing import check, fuzz


@pytest.mark.slow
@pytest.mark.skipif("ORB_EXAMPLES" not in os.environ, reason="the API was NOT fuzzed: set ORB_EXAMPLES")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["file", "sql"])
def test_the_api_does_what_its_document_says(mode: str, tmp_path: Path) -> None:
    check(fuzz(tmp_path, mode, 10), least=0.2)  # among so few, most are wrong on purpose
