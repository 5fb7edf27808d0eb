"""A job's page: it tells how far the work is, whoever looks and whenever; it is cancelled and started again there."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from orbsite.admin.jobs.job_page import state_of
from orbsite.models.jobs import Job
from orbsite.operations.jobs import catalog, jobs
from orbsite.operations.progress import Progress
from orbsite.operations.report import Report
from orbsite.operations.workers.heartbeat import MonitoredProgress, heartbeat
from orbsite.operations.workers.workers import STALE_AFTER
from orbsite.storage.clock import utc_now
from orbsite.storage.findings import warning
from tests.admin.starting import post, staff_client, words
from tests.support.time_limits import time_limit

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
SO_FAR = {
    "counts": {"te": {"read": 30, "new": 29}},
    "found": 1,
    "findings": [{"domain": "te", "path": "$.sessions", "severity": "warning", "message": "<b>odd</b>"}],
}


def now() -> datetime:
    return BEGIN


def made(**values: Any) -> Job:
    known: dict[str, Any] = {"operation": "validate", "created_at": BEGIN, "actor": "olga"}
    return Job.objects.create(**known | values)


def running(**values: Any) -> Job:
    known = {"state": "running", "started_at": BEGIN, "heartbeat": BEGIN + timedelta(seconds=3), "worker": "host:1"}
    return made(**known | {"progress": 30, "expected": 90, "so_far": SO_FAR} | values)


@pytest.mark.django_db
def test_the_page_and_the_state_tell_how_far_it_is(admin_client: Client) -> None:
    job = running(heartbeat=utc_now(), started_at=utc_now() - timedelta(seconds=3))
    state = admin_client.get(reverse("admin:job_state", args=[job.pk])).json()
    assert (state["state"], state["has_ended"], state["percent"]) == ("running", False, 33)
    assert (state["rate"], state["left"]) == (10, 6)
    assert state["numbers"] == "30 of about 90, 33 %, 10 per second, about 6 s left"
    assert (state["columns"], state["rows"]) == (["read", "new"], [["te", 30, 29]])
    assert (state["found"], len(state["findings"])) == (1, 1)
    page = admin_client.get(reverse("admin:job", args=[job.pk]))
    body = page.content.decode()
    assert "30 of about 90, 33 %, 10 per second, about 6 s left" in words(page)
    assert '<progress id="job-progress" max="90" value="30">' in body
    assert "&lt;b&gt;odd&lt;/b&gt;" in body
    assert "<b>odd" not in body
    assert "console/live.js" in body
    assert "<script>" not in body


@pytest.mark.django_db
def test_to_follow_a_job_asks_the_database_for_little(admin_client: Client, django_assert_num_queries: Any) -> None:
    both = [running(), running(state="done", result={"ok": True, "domains": {}, "findings": []})]
    for job in both:
        with django_assert_num_queries(3) as asked:  # who it is, and the job
            admin_client.get(reverse("admin:job_state", args=[job.pk]))
        assert '"samples"' not in asked.captured_queries[-1]["sql"]
    with django_assert_num_queries(4):
        admin_client.get(reverse("admin:operations"))


@pytest.mark.parametrize(
    ("values", "percent", "rate", "left"),
    [
        ({}, 33, 10, 6),
        ({"progress": 0}, 0, None, None),
        ({"expected": None}, None, 10, None),
        ({"expected": 0}, None, 10, None),
        ({"progress": 120}, 100, 40, 0),
        ({"heartbeat": BEGIN}, 33, None, None),
        ({"heartbeat": BEGIN - timedelta(seconds=9)}, 33, None, None),
        ({"state": "done", "finished_at": BEGIN + timedelta(seconds=6)}, None, 5, None),
        ({"expected": 4000}, 0, 10, None),
        ({"state": "queued", "started_at": None, "heartbeat": None, "progress": 0}, 0, None, None),
    ],
)  # fmt: skip
@pytest.mark.django_db
def test_rate_and_time_left_are_told_where_they_are_known(
    values: dict[str, Any], percent: int | None, rate: int | None, left: int | None
) -> None:
    state = state_of(running(**values), BEGIN + timedelta(seconds=4))
    assert (state["percent"], state["rate"], state["left"]) == (percent, rate, left)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"state": "queued", "started_at": None, "heartbeat": None}, "is waiting for a worker"),
        ({}, "You can close this page"),
        ({"wants_to_stop": True}, "is stopping"),
        ({"heartbeat": BEGIN - STALE_AFTER}, "no heartbeat"),
        ({"state": "done", "result": {"ok": True}}, "has finished."),
        ({"state": "done", "result": {"ok": False}}, "finished with problems"),
        ({"state": "cancelled"}, "was cancelled."),
        ({"state": "failed"}, "has failed."),
    ],
)
@pytest.mark.django_db
def test_each_state_is_said_in_a_sentence(values: dict[str, Any], told: str) -> None:
    assert told in state_of(running(**values), BEGIN + timedelta(seconds=4))["said"]


@pytest.mark.django_db
def test_a_job_that_waits_is_cancelled_and_started_again(
    admin_client: Client, django_capture_on_commit_callbacks: Any, settings: Any, files: Path
) -> None:
    settings.ORB_DATA_DIR = files
    job = made(arguments={"only": ["te"]})
    assert "Cancel job" in [one["value"] for one in _buttons(admin_client, job)]
    post(admin_client, "job_cancel", {}, job.pk)
    job.refresh_from_db()
    assert (job.state, job.wants_to_stop) == ("cancelled", True)
    assert "Cancel job" not in [one["value"] for one in _buttons(admin_client, job)]
    with django_capture_on_commit_callbacks(execute=True):
        response = post(admin_client, "job_again", {}, job.pk)
    new = Job.objects.exclude(pk=job.pk).get()
    assert response["Location"] == reverse("admin:job", args=[new.pk])
    assert (new.state, new.arguments, new.actor) == ("done", {"only": ["te"]}, "admin")
    assert "is done already" in post(admin_client, "job_cancel", {}, new.pk, follow=True).content.decode()


@pytest.mark.django_db
def test_a_job_that_runs_is_told_to_stop_and_not_started_twice(admin_client: Client) -> None:
    job = running(heartbeat=utc_now())
    said = post(admin_client, "job_again", {}, job.pk, follow=True).content.decode()
    assert f"Job {job.pk} is running. Cancel it" in said
    post(admin_client, "job_cancel", {}, job.pk)
    job.refresh_from_db()
    assert (job.state, job.wants_to_stop) == ("running", True)
    assert Job.objects.count() == 1


@pytest.mark.django_db
def test_a_job_whose_worker_died_is_failed_by_whoever_starts_it_again(admin_client: Client) -> None:
    job = running(heartbeat=utc_now() - STALE_AFTER - timedelta(seconds=1))
    assert "Start job again" in [one["value"] for one in _buttons(admin_client, job)]
    post(admin_client, "job_again", {}, job.pk)
    job.refresh_from_db()
    assert job.state == "failed"
    assert Job.objects.exclude(pk=job.pk).get().operation == "validate"


@pytest.mark.parametrize(
    "values",
    [
        {"operation": "validate", "state": "done"},
        {"operation": "migrate", "state": "done"},
        {"operation": "migrate", "state": "failed", "arguments": {"dry_run": True}},
        {"operation": "migrate", "arguments": {"dry_run": True}},
        {"operation": "repair", "state": "done", "arguments": {"apply": True}},
    ],
)
@pytest.mark.django_db
def test_only_a_preview_that_is_done_can_be_applied(admin_client: Client, values: dict[str, Any]) -> None:
    job = made(**values)
    assert reverse("admin:job_apply", args=[job.pk]) not in admin_client.get(
        reverse("admin:job", args=[job.pk])
    ).content.decode()  # fmt: skip
    assert "this job is not a finished preview" in post(admin_client, "job_apply", {}, job.pk, follow=True).content.decode()  # fmt: skip
    assert Job.objects.count() == 1


ACTS = ("job_cancel", "job_again", "job_apply")


@pytest.mark.django_db
def test_whoever_may_look_at_jobs_can_change_none() -> None:
    viewer = staff_client("view_job")
    job = made(operation="migrate", state="done", arguments={"dry_run": True}, result={"domains": {}})
    page = viewer.get(reverse("admin:job", args=[job.pk]))
    assert page.status_code == 200
    assert "<form" not in page.content.decode().split('id="content-main"')[1].split('id="footer"')[0]
    for name in ACTS:
        assert post(viewer, name, {}, job.pk).status_code == 404
    assert Job.objects.count() == 1


@pytest.mark.django_db
def test_a_job_is_not_there_for_those_who_may_neither_look_nor_start_it() -> None:
    other = staff_client("start_check", "view_run")
    job = made(operation="migrate")
    for name in ("job", "job_state"):
        assert other.get(reverse(f"admin:{name}", args=[job.pk])).status_code == 404
        assert other.get(reverse(f"admin:{name}", args=[job.pk + 1])).status_code == 404
    for name in ACTS:
        assert post(other, name, {}, job.pk).status_code == 404
    own = made(operation="check")
    assert other.get(reverse("admin:job", args=[own.pk])).status_code == 200


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.django_db
def test_looking_changes_nothing(admin_client: Client, name: str) -> None:
    job = made()
    assert admin_client.get(reverse(f"admin:{name}", args=[job.pk])).status_code == 405
    assert admin_client.get(reverse("admin:job", args=[2**64])).status_code == 404
    job.refresh_from_db()
    assert (job.state, Job.objects.count()) == ("queued", 1)


@pytest.mark.django_db
def test_an_operation_that_is_no_more_is_shown_and_not_started(admin_client: Client) -> None:
    job = made(operation="sweep", state="done", result={"ok": True, "domains": {"te": {"swept": 1}}, "findings": []})
    assert "swept" in words(admin_client.get(reverse("admin:job", args=[job.pk])))
    assert post(admin_client, "job_again", {}, job.pk).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_what_is_found_is_told_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def run(self: Any, place: Any) -> Report:
        progress: Progress = place.progress
        report = Report(columns=("read",))
        progress.tells_of(report)
        section = report.section("te", ["reflections"])
        progress.expect(100)
        for number in range(100):
            section.count("reflections", "read")
            section.findings.append(warning(f"$[{number}]", "odd"))
            progress(1)
            if not seen and number > 50 and _told().wait(time_limit(60)):
                seen.append(Job.objects.get().so_far)
        return report

    def _told() -> threading.Event:
        told = threading.Event()
        while not told.wait(0.01):
            if (Job.objects.get().so_far or {}).get("found", 0) > 50:
                told.set()
        return told

    monkeypatch.setattr(catalog.Validate, "run", run)
    job = Job.objects.create(operation="validate", created_at=BEGIN)
    assert jobs.execute(job.pk, now=now, beat=0.01)
    job.refresh_from_db()
    assert seen[0]["counts"]["te"]["read"] == 52
    assert seen[0]["found"] == 52
    assert [one["path"] for one in seen[0]["findings"]] == [f"$[{number}]" for number in range(32, 52)]
    assert job.so_far["found"] == 100


def _without_room(told: list[int], tries: list[int]) -> Any:
    """Return a beat that finds the database locked wherever it is not the work itself that beats."""

    def beat(moment: datetime, so_far: MonitoredProgress) -> bool:
        if threading.current_thread() is not threading.main_thread():
            tries.append(so_far.done)
            raise OperationalError("database is locked")
        told.append(so_far.done)
        return True

    return beat


@pytest.mark.django_db(transaction=True)
def test_work_that_leaves_its_heart_no_room_tells_itself_how_far_it_is() -> None:
    told, tries, watched = list[int](), list[int](), MonitoredProgress()
    with heartbeat(watched, _without_room(told, tries), now, seconds=0.01):
        while not told:
            watched(1)
    assert told == [watched.done]
    watched(1)
    assert len(told) == 1


@pytest.mark.django_db
def test_within_a_transaction_the_work_does_not_stop_to_tell() -> None:
    told, tries, watched = list[int](), list[int](), MonitoredProgress()
    with heartbeat(watched, _without_room(told, tries), now, seconds=0.01):
        while len(tries) < 5:
            watched(1)
    assert told == []


def _buttons(client: Client, job: Job) -> list[dict[str, str]]:
    body = client.get(reverse("admin:job", args=[job.pk])).content.decode().split('id="content-main"')[1]
    return [{"value": value} for value in re.findall(r'<input type="submit"[^>]* value="([^"]*)"', body)]
