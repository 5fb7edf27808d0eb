"""Processes and threads that save in SQL at the same time lose nothing, and somebody who does not compare does.

Half of the saves are new records, the other half raise one counter. `tests/storage/file/test_readers.py` does the same with
files.
"""

from __future__ import annotations

import pytest

from tests.torture.program import SEED, run

pytestmark = pytest.mark.torture

DATABASES = ["sqlite", "postgresql"]


@pytest.mark.parametrize("database", DATABASES)
def test_what_eight_processes_save_is_all_there(database: str) -> None:
    result = run("writers", "count", database, SEED, "8", "250")
    assert (result["saves"], result["missing"], result["violations"]) == (2000, 0, [])


@pytest.mark.parametrize("database", DATABASES)
def test_what_sixteen_threads_save_is_all_there(database: str) -> None:
    result = run("writers", "count-threads", database, SEED, "16", "100")
    assert (result["saves"], result["missing"], result["violations"]) == (1600, 0, [])


@pytest.mark.parametrize("database", DATABASES)
def test_a_counter_that_is_raised_without_comparing_loses_some(database: str) -> None:
    assert run("writers", "few", database, SEED, "8", "50", "naive")["missing"] > 0
