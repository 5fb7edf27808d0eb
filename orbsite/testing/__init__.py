"""The contract of stores as a test suite, for the stores of other projects too.

It needs pytest and hypothesis, which the extra `testing` installs.

    class TestDbmStore(StoreContract, AgreementWithMemory):
        def harness_in(self, directory: Path) -> Harness:
            return Harness("dbm", lambda domain: DbmStore(domain, directory / f"{domain.name}.dbm"))

Imports everything below the interfaces, and is imported by tests alone.
"""

from __future__ import annotations

import pytest

from orbsite.conf.configure import ensure_configured

pytest.register_assert_rewrite("orbsite.testing.contract")
ensure_configured()

from orbsite.testing.agreement import AgreementWithMemory, StoreMachine, run_machine
from orbsite.testing.cases import CASES, Case, maker
from orbsite.testing.contract import StoreContract
from orbsite.testing.harness import Harness

__all__ = [
    "CASES",
    "AgreementWithMemory",
    "Case",
    "Harness",
    "StoreContract",
    "StoreMachine",
    "maker",
    "run_machine",
]
