from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract import harness
from tests.contract.harness import Harness
from tests.contract.promises import PROMISES, Promise
from tests.support.cases import CASES, Case

pytestmark = pytest.mark.django_db(databases="__all__")


FILES = {f"{form}file": (harness.file, form) for form in harness.PACKINGS}
FILES |= {f"{form}journal": (harness.journal, form) for form in harness.PACKINGS}
VERSIONED = {"version 2 file": harness.file, "version 2 journal": harness.journal}


@pytest.fixture(params=["memory", *FILES, *VERSIONED, "sqlite", "postgresql", "sealed sqlite", "sealed postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> Harness:
    if request.param in FILES:
        make, form = FILES[request.param]
        return make(tmp_path / ".orb-data", form)
    if request.param in VERSIONED:
        base = tmp_path / ".orb-data"
        return harness.version_2(VERSIONED[request.param](base), base)
    match request.param:
        case "memory":
            return harness.memory()
        case "sqlite":
            return harness.sql("default")
        case "postgresql":
            return harness.sql(request.getfixturevalue("postgresql_alias"))
    settings.ORB_KEYS = harness.SECRETS
    alias = "default" if request.param == "sealed sqlite" else request.getfixturevalue("postgresql_alias")
    return harness.sql(alias, is_sealed=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_contract(promise: Promise, store: Harness, case: Case) -> None:
    promise(store, case)
