"""The effect of a policy before it is applied: the numbers that a run would have, by day, on every store."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from luna.domain import DOMAIN as LUNA
from orbsite.operations.retention.effect import effect
from orbsite.storage.errors import ClockJumped, InvalidPolicy, TooMuch
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.operations.retention.policies import NOW
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db(databases="__all__")
AGES = (0, 0, 0.6, 3, 3, 3, 40, 400)


def now() -> datetime:
    return NOW


@pytest.fixture(params=["memory", "file", "default", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "postgresql":
        request.getfixturevalue("postgresql_alias")
    if request.param in ("default", "postgresql"):
        return SqlStore(TE, request.param)
    return MemoryStore(TE) if request.param == "memory" else FileStore(TE, Document(tmp_path / "data", TE.file))


def filled(store: Any, *ages: float) -> Counter[Any]:
    records = [
        ReflectionFactory(id=f"{number:03}", session_id="s", created_at=NOW - timedelta(days=age))
        for number, age in enumerate(ages)
    ]
    store.put(records)
    return Counter(one.created_at.date() for one in records)


def test_the_effect_has_the_numbers_of_each_day_and_removes_nothing(store: Any) -> None:
    days = filled(store, *AGES)
    found = effect(store, Policy(max_age_days=2), now=now, force=True)
    limit = (NOW - timedelta(days=2)).date()
    assert (found.total, found.removed, found.guards) == (8, 5, [])
    assert found.days == days
    assert found.removed_days == {day: number for day, number in days.items() if day < limit}
    assert store.count(Reflection) == 8


def test_rules_per_session_split_a_day(store: Any) -> None:
    filled(store, *AGES)
    found = effect(store, Policy(max_per_session=5), now=now)
    assert found.removed_days == {(NOW - timedelta(days=days)).date(): 1 for days in (3, 40, 400)}


def test_what_would_stop_a_run_is_told(store: Any) -> None:
    filled(store, *AGES)
    guards = effect(store, Policy(max_age_days=2), now=now).guards
    assert [type(one) for one in guards] == [TooMuch]
    early = effect(store, Policy(max_age_days=2), now=lambda: NOW - timedelta(days=1000))
    assert [type(one) for one in early.guards] == [ClockJumped]
    assert early.removed == 0


def test_an_empty_store_and_a_domain_without_retention(store: Any) -> None:
    found = effect(store, Policy(keep_last=1), now=now)
    assert (found.total, found.removed, found.days) == (0, 0, {})
    with pytest.raises(InvalidPolicy, match="no records that retention applies to"):
        effect(MemoryStore(LUNA), Policy(keep_last=1), now=now)


def test_a_row_without_a_readable_day_is_counted_and_is_of_no_day() -> None:
    filled(SqlStore(TE, "default"), 1, 2, 3)
    with connections["default"].cursor() as cursor:
        cursor.execute(f"UPDATE {ReflectionRow._meta.db_table} SET created_at = 'once' WHERE id = '000'")
        cursor.execute(f"UPDATE {ReflectionRow._meta.db_table} SET created_at = '2023-02-31 00:00:00' WHERE id = '001'")
    found = effect(SqlStore(TE, "default"), Policy(max_age_days=2.5), now=now, force=True)
    assert found.total == 3
    assert found.days == {(NOW - timedelta(days=3)).date(): 1}
    assert datetime(2023, 2, 28, tzinfo=UTC).date() not in found.removed_days
