from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_timeout

from tests import conftest
from tests.support.processes import ended
from tests.support.time_limits import AT_LEAST, time_limit


def test_a_process_that_runs_past_its_limit_ends_with_the_test_and_leaves_no_pipe_open() -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(2)]
    with pytest.raises(subprocess.TimeoutExpired), ended(*processes):
        processes[0].communicate(timeout=0.01)
    assert all(process.returncode for process in processes)
    pipes = [pipe for process in processes for pipe in (process.stdin, process.stdout, process.stderr) if pipe]
    assert len(pipes) == 6
    assert all(pipe.closed for pipe in pipes)


def test_a_process_that_has_ended_is_left_as_it_is() -> None:
    process = subprocess.Popen([sys.executable, "-c", "print('said')"], stdout=subprocess.PIPE, text=True)
    with ended(process):
        assert process.communicate(timeout=time_limit(60))[0] == "said\n"
    assert process.returncode == 0


@pytest.mark.parametrize(("load", "expected"), [(0.0, 10 * AT_LEAST), (8.0, 80.0), (32.0, 320.0)])
def test_a_limit_grows_with_the_load_of_each_core(
    monkeypatch: pytest.MonkeyPatch, load: float, expected: float
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert time_limit(10.0) == expected


def test_the_limit_of_each_test_grows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(pytest_timeout, "pytest_timeout_set_timer", lambda item, settings: seen.append(settings))
    monkeypatch.setattr(conftest, "time_limit", lambda usual: usual * 7)
    settings = pytest_timeout.Settings(300, "signal", False, False)
    conftest.pytest_timeout_set_timer(SimpleNamespace(), settings)
    assert seen == [settings._replace(timeout=2100)]
