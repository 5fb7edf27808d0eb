"""A cut-over is as far as its users: equal in both stores, different, or in one of them alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orbsite.models.statistics import CutoverProgress
from orbsite.operations.scheduling.daily import chores
from orbsite.operations.statistics.cutover_progress import compared_users, note_progress
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import file_store
from te.domain import DOMAIN as TE
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def place(settings: Any, data_dir: Path) -> Path:
    settings.ORB_DATA_DIR, settings.ORB_PERSISTENCE = data_dir, "file"
    equal = [ReflectionFactory(user_id="ana"), ReflectionFactory(user_id="ana")]
    changed = ReflectionFactory(user_id="bob", id="b", output="before")
    file_store(TE, data_dir).put([*equal, changed, ReflectionFactory(user_id="new")])
    SqlStore(TE).put([*equal, ReflectionFactory(user_id="bob", id="b", output="after")])
    SqlStore(TE).put([ReflectionFactory(user_id="bob"), ReflectionFactory(user_id="zoe")])
    return data_dir


def test_each_user_is_in_one_place() -> None:
    assert compared_users(TE) == {
        "equal": 1,
        "differ": 1,
        "only_in_files": 1,
        "only_in_sql": 1,
        "equal_records": 2,
        "differ_records": 2,
        "only_in_files_records": 1,
        "only_in_sql_records": 1,
    }


def test_the_last_comparison_of_a_day_counts(place: Path) -> None:
    assert note_progress(lambda: NOW) == 1  # the other domains have no file
    SqlStore(TE).put([ReflectionFactory(user_id="new")])
    assert note_progress(lambda: NOW, [TE]) == 1
    row = CutoverProgress.objects.get()
    assert (row.domain, row.counts["only_in_files"], row.counts["differ"]) == ("te", 0, 2)


def test_a_file_that_cannot_be_read_leaves_no_row(place: Path) -> None:
    (place / "te" / "reflections.json").write_text("{")
    assert note_progress(lambda: NOW) == 0


def test_maintenance_compares_until_sql_is_in_use(settings: Any) -> None:
    assert chores(lambda: NOW)["cutover_noted"] == 1
    settings.ORB_PERSISTENCE = "sql"
    assert "cutover_noted" not in chores(lambda: NOW)
