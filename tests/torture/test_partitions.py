"""The suites of the contract, of retention and of the API on tables that are partitioned by time."""

from __future__ import annotations

import pytest

from tests.support.nested import OF_SQLITE, number_passed

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]
QUICK = "not slow and not torture and not scale"
PARTS = {
    "contract": ["tests/contract", "-m", QUICK],
    "retention": [
        "tests/operations/retention/test_retention.py",
        "tests/operations/records/test_erase.py",
        "--deselect=tests/operations/records/test_erase.py::test_a_restore_brings_nobody_back_and_keeps_the_list",
    ],  # a restore in place is refused
    "api": [
        "tests/api",
        "--ds=tests.pooled_settings",
        *(f"--deselect={name}" for name in (*OF_SQLITE, "tests/api/test_routing.py")),  # it parses statements
        *("-m", QUICK, "-k", "not sqlite"),
    ],
}


@pytest.mark.parametrize("part", PARTS)
def test_the_suites_pass_on_partitions(part: str) -> None:
    assert number_passed("-k", "postgresql", *PARTS[part], ORB_TESTS_PARTITIONS="true") > 20
