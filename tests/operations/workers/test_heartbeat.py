"""The heartbeat of an operation whose thread does not get to write."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from orbsite.operations.workers import heartbeat as module
from orbsite.operations.workers.heartbeat import MonitoredProgress, heartbeat

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_an_operation_saves_its_own_heartbeat_if_the_thread_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, beats, watched = [100.0], list[datetime](), MonitoredProgress()

    def beat(moment: datetime, _: MonitoredProgress) -> bool:
        beats.append(moment)
        return True

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda _: None))
    with heartbeat(watched, beat, lambda: NOW, seconds=60):
        for after, expected in ((0, 0), (119, 0), (1, 1), (0, 1), (119, 1), (1, 2)):
            clock[0] += after
            watched(1)
            assert len(beats) == expected
