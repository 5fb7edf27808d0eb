"""Every store side by side with memory, step by step: same answers, same errors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from hypothesis import strategies as st
from hypothesis.stateful import rule

from orbsite.testing.agreement import StoreMachine, run_machine
from orbsite.testing.cases import Case
from orbsite.testing.harness import Harness
from tests.contract import harness
from tests.support.cases import CASES
from tests.support.effort import effort

pytestmark = pytest.mark.slow


class Machine(StoreMachine):
    """The stores of this project, which can be looked at from behind, folded and torn."""

    @rule()
    def fold(self) -> None:
        self.stores["journal"].fold()
        self.stores["sealed journal"].fold()
        self.stores["version 2 journal"].fold()

    @rule(data=st.data())
    def tear_the_end_off(self, data: st.DataObject) -> None:
        """As after a power cut in the middle of a save that was never acknowledged."""
        path = self.base / f"journal/{self.case.domain.file}.journal"
        if path.exists():
            end = data.draw(st.sampled_from([b'{"journal":', b"\0" * 70, b'{"journal":"0","seq":1}\n']))
            with path.open("ab") as journal:
                journal.write(end)

    @rule()
    def look_behind(self) -> None:
        answers = {
            one.name: one.witnesses(self.case)
            for one in self.harnesses
            if one.name in ("memory", "file", "compressed file", "sealed journal", "version 2 journal")
        }
        self._compare(answers, "what lies there")


def _harnesses(aliases: Sequence[str], case: Case, base: Path, *, is_sealed: bool) -> list[Harness]:
    for alias in aliases:
        for model in case.domain.models.values():
            model._base_manager.using(alias).all().delete()
    files = [harness.file(base / "file"), harness.journal(base / "journal")]
    files += [harness.file(base / "compressed", "compressed "), harness.journal(base / "sealed", "sealed ")]
    files += [harness.version_2(harness.journal(base / "version 2"), base / "version 2")]
    return [*files, *(harness.sql(alias, is_sealed=is_sealed) for alias in aliases)]


@pytest.mark.deep
@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_stores_agree_step_by_step(case: Case) -> None:
    _run(case, is_sealed=False, runs=effort(6, 12))


@pytest.mark.deep
@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("case", [case for case in CASES if case.kind.private_fields], ids=lambda case: case.id)
def test_stores_agree_step_by_step_with_sealed_tables(case: Case, settings: Any) -> None:
    settings.ORB_KEYS = harness.SECRETS
    _run(case, is_sealed=True, runs=effort(4, 12))


def _run(case: Case, *, is_sealed: bool, runs: int) -> None:
    aliases = tuple(name for name in ("default", "postgresql") if name in connections)
    run_machine(Machine, case, partial(_harnesses, aliases, case, is_sealed=is_sealed), runs=runs, steps=50)
