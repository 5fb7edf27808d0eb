"""Reads and saves are counted by hour and client, for a bounded number of clients and days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError

from orbsite.models.statistics import HourlyUse
from orbsite.operations.statistics import usage
from orbsite.operations.statistics.usage import OTHERS, UsageCounter, forget_use, save

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, 40, tzinfo=UTC)


def rows() -> list[tuple[int, str, int, int]]:
    found = HourlyUse.objects.order_by("hour", "client").values_list("hour", "client", "reads", "saves")
    return [(hour.hour, client, reads, saves) for hour, client, reads, saves in found]


def test_counts_of_several_processes_are_added() -> None:
    for _ in range(2):
        counter = UsageCounter()
        counter.count("app", saves=False, now=NOW)
        counter.count("app", saves=True, now=NOW)
        counter.count("app", saves=False, now=NOW + timedelta(minutes=30))
        save(counter)
        save(counter)
    assert rows() == [(12, "app", 2, 2), (13, "app", 2, 0)]


def test_many_clients_share_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_CLIENTS", 2)
    for names in ("abc", "d"):
        counter = UsageCounter()
        for name in names:
            counter.count(name, saves=False, now=NOW)
        save(counter)
    assert rows() == [(12, "a", 1, 0), (12, "b", 1, 0), (12, OTHERS, 2, 0)]


def test_what_cannot_be_saved_is_saved_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = UsageCounter()
    counter.count("app", saves=True, now=NOW)

    def refuse(*_: Any) -> None:
        raise DatabaseError("locked")

    with monkeypatch.context() as patch:
        patch.setattr(usage, "_add", refuse)
        with pytest.raises(DatabaseError):
            save(counter)
    save(counter)
    assert rows() == [(12, "app", 0, 1)]


def test_old_hours_are_forgotten() -> None:
    for days in (13, 15):
        HourlyUse.objects.create(hour=NOW - timedelta(days=days), client="app")
    assert forget_use(NOW) == 1
    assert HourlyUse.objects.count() == 1
