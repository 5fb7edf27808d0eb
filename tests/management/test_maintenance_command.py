"""run_orb_maintenance: once, in a loop, and what it prints."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from orbsite.management.commands import run_orb_maintenance as module
from orbsite.models.clock import Clock
from orbsite.models.retention import PolicyRun, RetentionPolicy
from orbsite.operations.report import Report
from orbsite.storage.errors import StoreUnavailable

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_files(settings: Any, tmp_path: Path) -> None:
    settings.ORB_DATA_DIR = tmp_path / ".orb-data"


@pytest.fixture
def policy() -> RetentionPolicy:
    return RetentionPolicy.objects.create(name="p", domain="te", rules={"keep_last": 1})


def _json(*arguments: str) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    code = 0
    try:
        call_command("run_orb_maintenance", *arguments, "--format", "json", stdout=out)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, json.loads(out.getvalue())


def test_it_runs_what_is_due(policy: RetentionPolicy) -> None:
    code, told = _json("--once")
    assert (code, told["ok"], told["domains"]["te"]["run"]) == (0, True, 1)
    assert told["domains"]["maintenance"]["growth_noted"] == 3
    assert PolicyRun.objects.get(policy=policy).state == "done"
    assert _json()[1]["domains"] == {}


def test_it_takes_the_policies_of_one_domain(policy: RetentionPolicy) -> None:
    assert "te" not in _json("--only", "luna")[1]["domains"]
    assert "te" in _json("--only", "te")[1]["domains"]


def test_a_clock_that_jumped_is_told_and_can_be_trusted(policy: RetentionPolicy) -> None:
    Clock.objects.create(trusted=datetime.now(UTC) + timedelta(days=3))
    code, told = _json()
    assert (code, told["ok"], "te" in told["domains"]) == (1, False, False)
    assert "--trust-clock" in told["findings"][0]["message"]
    assert _json("--trust-clock")[1]["domains"]["te"]["run"] == 1


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["on a terminal", "in the background"])
def _interrupts(request: pytest.FixtureRequest) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts")
def test_a_loop_goes_on_through_errors_until_it_is_terminated(
    policy: RetentionPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def maintain(**options: Any) -> Report:
        asked.append(options["trust_clock"])
        if len(asked) == 1:
            raise StoreUnavailable("the database is away")
        if len(asked) == 4:
            signal.raise_signal(signal.SIGTERM)
        report = Report(columns=("run",))
        if len(asked) == 2:
            report.section("te", ("policies",)).count("policies", "run")
        return report

    monkeypatch.setattr(module, "maintain", maintain)
    monkeypatch.setattr(module, "_TICK", 0.001)
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    out, err = io.StringIO(), io.StringIO()
    call_command("run_orb_maintenance", "--loop", "0.001", "--trust-clock", format="json", stdout=out, stderr=err)
    assert asked == [True, True, False, False]
    assert [json.loads(line)["domains"]["te"]["run"] for line in out.getvalue().splitlines()] == [1]
    assert "the database is away" in err.getvalue()
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_seconds_are_a_number_above_none(value: str) -> None:
    with pytest.raises(CommandError, match="no number of seconds"):
        call_command("run_orb_maintenance", "--loop", value)


def test_what_was_done_is_shown_as_text(policy: RetentionPolicy) -> None:
    out = io.StringIO()
    call_command("run_orb_maintenance", stdout=out)
    assert "te policies" in out.getvalue()
