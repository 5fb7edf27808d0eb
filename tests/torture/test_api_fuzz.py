"""The API and its document, each operation many times: 30, or as many as ORB_EXAMPLES says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.api.fuzzing import check, fuzz

EXAMPLES = int(os.environ.get("ORB_EXAMPLES") or 30)
pytestmark = [pytest.mark.torture, pytest.mark.timeout(900)]


@pytest.mark.parametrize("mode", ["file", "sql"])
def test_the_api_does_what_its_document_says(mode: str, tmp_path: Path) -> None:
    outcome = fuzz(tmp_path, mode, EXAMPLES)
    told = f"{mode}: {sum(outcome.answers.values())} requests, {outcome.accepted:.0%} of the writes accepted"
    sys.stdout.write(f"{told}\n")
    check(outcome)
