"""The stores of this project keep the contract that `orbsite.testing` exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orbsite.testing import StoreContract
from orbsite.testing.harness import Harness, memory
from tests.contract import harness
from tests.support.cases import CASES

FILES = {f"{form}file": (harness.file, form) for form in harness.PACKINGS}
FILES |= {f"{form}journal": (harness.journal, form) for form in harness.PACKINGS}
VERSIONED = {"version 2 file": harness.file, "version 2 journal": harness.journal}
IN_SQL = ("sqlite", "postgresql", "sealed sqlite", "sealed postgresql")


@pytest.mark.django_db(databases="__all__")
class TestContract(StoreContract):
    cases = CASES

    @pytest.fixture(params=["memory", *FILES, *VERSIONED, *IN_SQL])
    def harness(self, request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> Harness:
        if request.param in FILES:
            make, form = FILES[request.param]
            return make(tmp_path / ".orb-data", form)
        if request.param in VERSIONED:
            base = tmp_path / ".orb-data"
            return harness.version_2(VERSIONED[request.param](base), base)
        match request.param:
            case "memory":
                return memory()
            case "sqlite":
                return harness.sql("default")
            case "postgresql":
                return harness.sql(request.getfixturevalue("postgresql_alias"))
        settings.ORB_KEYS = harness.SECRETS
        alias = "default" if request.param == "sealed sqlite" else request.getfixturevalue("postgresql_alias")
        return harness.sql(alias, is_sealed=True)
