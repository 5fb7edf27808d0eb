"""Requests of the API are counted by token, and no request waits for the table."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client

from orbsite.models.api_tokens import Token, issue
from orbsite.operations.statistics.usage import UsageCounter
from orbsite.storage.clock import utc_now
from orbsite.web import usage

USER = "/api/v1/users/ana"


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> UsageCounter:
    made = UsageCounter()
    monkeypatch.setattr(usage, "COUNTER", made)
    return made


@pytest.fixture
def headers(db: None) -> dict[str, str]:
    token = Token(name="app", scopes=["write"], users=["ana"])
    return {"authorization": f"Bearer {issue(token, utc_now())}"}


def counts(counter: UsageCounter) -> dict[str, int]:
    found = counter.take()
    assert {name.partition(" ")[0] for _, name, _ in found} <= {"app"}
    return {field: number for (_, _, field), number in found.items()}


def test_reads_and_saves_are_counted_and_nothing_else(
    client: Client, headers: dict[str, str], counter: UsageCounter
) -> None:
    for _ in range(3):
        assert client.get(f"{USER}/profiles", headers=headers).status_code == 200
    saved = {"modeId": "sol"}
    answer = client.put(f"{USER}/active-mode", saved, content_type="application/json", headers=headers)
    assert answer.status_code < 300, answer.content
    assert client.get(f"{USER}/profiles/none", headers=headers).status_code == 404
    assert client.get(f"{USER}/profiles").status_code == 401
    assert client.get("/api/v1/users/bob/profiles", headers=headers).status_code == 404
    assert client.options(f"{USER}/profiles", headers=headers).status_code < 500
    client.get("/livez")
    assert counts(counter) == {"reads": 3, "saves": 1}


def test_a_thread_saves_once_in_a_while(
    client: Client, headers: dict[str, str], counter: UsageCounter, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", lambda self: begun.append(self.name))
    settings.ORB_USAGE_SECONDS = 0.001
    seconds = iter([0.0, *(number / 1000 for number in range(100))])
    monkeypatch.setattr(usage.time, "monotonic", lambda: next(seconds))
    for _ in range(3):
        assert client.get(f"{USER}/profiles", headers=headers).status_code == 200
    assert begun
    assert set(begun) == {"orb-usage"}
    settings.ORB_USAGE_SECONDS = 0
    begun.clear()
    client.get(f"{USER}/profiles", headers=headers)
    assert begun == []


def test_a_database_that_is_away_is_only_logged(
    counter: UsageCounter, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def refuse(_: UsageCounter) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(usage, "save", refuse)
    monkeypatch.setattr(usage.connections, "close_all", lambda: None)
    usage.save_now()
    assert "was not saved this time: DatabaseError" in caplog.text
