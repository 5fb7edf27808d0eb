"""The contract suite of the installed wheel, as somebody uses it who has written a store."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.installed import ROOT, environment

pytestmark = pytest.mark.slow

TEN_LINES = """\
from dbm_store import DbmStore
from orbsite.testing import AgreementWithMemory, Harness, StoreContract


class TestDbmStore(StoreContract, AgreementWithMemory):
    runs, steps = 2, 20

    def harness_in(self, directory):
        return Harness("dbm", lambda domain: DbmStore(domain, directory / f"{domain.name}.dbm"))
"""


def test_a_store_is_tested_in_ten_lines(tmp_path: Path) -> None:
    assert len(TEN_LINES.splitlines()) <= 10
    shutil.copy(ROOT / "tests/contract/dbm_store.py", tmp_path)
    (tmp_path / "test_store.py").write_text(TEN_LINES)
    pytest_there = [environment().python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_store.py"]
    told = environment().run(*pytest_there, "-k", "reflections", cwd=tmp_path)  # test_foreign_store tries all kinds
    passed = re.search(r"^(\d+) passed", told.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) > 30
    sound = (tmp_path / "dbm_store.py").read_text()
    (tmp_path / "dbm_store.py").write_text(sound.replace("refuse_unexpected(old, expect)", "pass"))
    told = environment().run(*pytest_there, "-k", "digest", cwd=tmp_path, code=1)
    assert "Failed: DID NOT RAISE" in told.stdout
    (tmp_path / "dbm_store.py").write_text(sound.replace("return len(found if", "return 1 + len(found if"))
    told = environment().run(*pytest_there, "-k", "test_put_replaces", cwd=tmp_path, code=1)
    assert "assert 2 == 1" in told.stdout, "pytest shows the values of an assertion in the installed suite too"
