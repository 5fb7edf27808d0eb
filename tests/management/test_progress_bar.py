from __future__ import annotations

import json
import threading
from io import StringIO

import pytest

from orbsite.management import progress_bar
from orbsite.management.progress_bar import Meter


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_progress_comes_as_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = StringIO()
    monkeypatch.setattr(progress_bar, "_SECONDS_BETWEEN_LINES", 0.0)
    with Meter(stream, "records") as progress:
        progress(2)
        progress(3)
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [{"progress": 2}, {"progress": 5}]


def test_lines_are_as_far_apart_as_seconds() -> None:
    stream = StringIO()
    with Meter(stream, "records") as progress:
        progress(2)
    assert stream.getvalue() == ""


def test_a_bar_has_no_thread() -> None:
    before = threading.active_count()
    with Meter(Terminal(), "records") as progress:
        progress(1)
        assert threading.active_count() == before


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(progress_bar, "_SECONDS_UNTIL_A_BAR", 0.0)
    with Meter(stream, "records") as progress:
        progress(7)
        progress(7)
        bar = progress._bar
        bar.refresh()
    assert "14 records" in stream.getvalue()
    assert "{" not in stream.getvalue()
