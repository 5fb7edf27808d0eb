"""The API and its document, each operation many times: ORB_EXAMPLES says how many."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.api.fuzzing import check, fuzz

EXAMPLES = int(os.environ.get("ORB_EXAMPLES") or 0)
pytestmark = [
    pytest.mark.torture,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not EXAMPLES, reason="the API was NOT fuzzed: set ORB_EXAMPLES, such as to 200"),
]


@pytest.mark.parametrize("mode", ["file", "sql"])
def test_the_api_does_what_its_document_says(mode: str, tmp_path: Path) -> None:
    outcome = fuzz(tmp_path, mode, EXAMPLES)
    told = f"{mode}: {sum(outcome.answers.values())} requests, {outcome.accepted:.0%} of the writes accepted"
    sys.stdout.write(f"{told}\n")
    check(outcome)
