"""Everything that the OpenAPI document allows, and what it does not, a little of each. `make torture` tries much more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.fuzzing import check, fuzz


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["file", "sql"])
def test_the_api_does_what_its_document_says(mode: str, tmp_path: Path) -> None:
    check(fuzz(tmp_path, mode, 10))
