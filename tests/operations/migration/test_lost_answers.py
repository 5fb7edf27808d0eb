"""A batch is committed, and nobody hears of it: the run goes on after it, and its counts still add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from orbsite.models.ledger import Run
from tests.management.test_commands import migrate

pytestmark = pytest.mark.django_db(transaction=True)

WANTED = {"luna": {"profiles": 72, "active_modes": 15}, "te": {"reflections": 142}}


def test_a_commit_whose_answer_is_lost_counts(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, lost = BaseDatabaseWrapper._commit, []

    def and_lose_the_answer(connection: Any) -> None:
        commit(connection)
        if not lost and Run.objects.exclude(cursor={}).exists():
            lost.append(True)
            raise OperationalError("the connection was closed")

    monkeypatch.setattr(BaseDatabaseWrapper, "_commit", and_lose_the_answer)
    code, report = migrate(sample)
    assert (code, lost) == (2, [True])
    assert "OperationalError" in report["findings"][0]["message"]  # of an error of Django's own, its type alone is told
    code, report = migrate(sample)
    run = Run.objects.get()
    counted = {
        name: {kind: counts.get("new", 0) for kind, counts in kinds.items()} for name, kinds in run.counts.items()
    }
    assert (code, {name: counted[name] for name in WANTED}) == (0, WANTED)
    assert sum(report["domains"][name]["read"] for name in WANTED) == 229
