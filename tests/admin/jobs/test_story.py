"""The pages of jobs and runs begin with sentences: who, what, when, how long, with which outcome, and what is next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from orbsite.admin.jobs import story
from orbsite.admin.jobs.story import Story
from orbsite.models.jobs import Job
from orbsite.models.ledger import Change, Run
from orbsite.persistence import migrate_all_file_to_sql
from tests.admin.starting import staff_client, words

pytestmark = pytest.mark.django_db
BEGIN = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
RUN = "admin:orbsite_run_change"
COUNTS = {"te": {"reflections": {"read": 1200, "new": 2, "kept": 0}}}


@pytest.fixture
def somebody() -> User:
    return User.objects.create_superuser("ada", password="x")


def a_run(operation: str = "migrate", state: str = "complete", **values: Any) -> Run:
    known: dict[str, Any] = {"started_at": BEGIN, "finished_at": BEGIN + timedelta(seconds=200), "counts": COUNTS}
    return Run.objects.create(operation=operation, state=state, **known | values)


def a_job(operation: str = "migrate", state: str = "done", **values: Any) -> Job:
    known: dict[str, Any] = {
        "created_at": BEGIN,
        "started_at": BEGIN + timedelta(seconds=30),
        "finished_at": BEGIN + timedelta(seconds=33),
        "actor": "olga",
        "result": {"ok": True, "domains": {"te": {"kinds": COUNTS["te"]}}},
    }
    return Job.objects.create(operation=operation, state=state, **known | values)


def of_job(job: Job, user: User) -> Story:
    return story.of_job(job, user, BEGIN + timedelta(seconds=40))


def test_the_page_of_a_run_begins_with_its_story(files: Path, admin_client: Client) -> None:
    migrate_all_file_to_sql(files)
    page = admin_client.get(reverse(RUN, args=[Run.objects.get().pk]))
    body, shown = page.content.decode(), words(page)
    assert "A command started a migration of the files into SQL on " in shown
    assert "It is complete: 229 read, 229 new." in shown
    assert "The written records were read back, and they are equal to the source." in shown
    assert shown.index("What happened") < shown.index("Technical facts") < shown.index("Source digest")
    assert body.index("<details") < body.index("Source digest") < body.index("</details>")
    assert f'href="{reverse("admin:operation", args=["verify"])}">Verify…' in body
    assert "reflections 142 142" in shown


def test_a_run_names_who_started_its_job(somebody: User) -> None:
    run = a_run()
    assert story.of_run(run, somebody).sentences == [
        "A command started a migration of the files into SQL on 1 March 2026 at 12:05 UTC.",
        "It took 3 minutes.",
        "It is complete: 1,200 read, 2 new.",
    ]
    a_job(started_at=BEGIN, result={"run": run.pk})
    a_job(started_at=BEGIN, result={"run": run.pk + 1}, actor="otto")
    assert story.of_run(run, somebody).sentences[0].startswith("olga started ")
    edit = a_run("edit")
    Change.objects.create(run=edit, domain="te", kind="reflections", key="[]", before="", after="", actor="mira")
    assert story.of_run(edit, somebody).sentences[0].startswith("mira started an edit by hand ")


@pytest.mark.parametrize(
    ("begin", "counts", "expected"),
    [
        (("migrate", "complete"), {"rejected": 1}, ("Correct what was rejected", "Show the rejects")),
        (("retry", "complete"), {"new": 1}, ("Compare the files with SQL", "Verify…")),
        (("verify", "complete"), {"missing": 1}, ("Files and SQL differ.", "Migrate…")),
        (("verify", "complete"), {"equal": 1}, ("Nothing is left to do.", "Dashboard")),
        (("rollback", "complete"), {"removed": 1}, ("Correct what was wrong", "Migrate…")),
        (("migrate", "failed"), {}, ("it continues where it stopped", "Start…")),
        (("migrate", "rolled back"), {}, ("Nothing is left of it.", "Start it anew…")),
        (("edit", "complete"), {}, ("Nothing is left to do.", "Dashboard")),
    ],
)
def test_a_run_says_what_is_next(
    somebody: User, settings: Any, begin: tuple[str, str], counts: dict[str, int], expected: tuple[str, str]
) -> None:
    settings.ORB_PERSISTENCE = "sql"
    step = story.of_run(a_run(*begin, counts={"te": {"reflections": counts}}), somebody).step
    assert expected[0] in step.text
    assert step.label == expected[1]


def test_equal_stores_lead_to_the_switch(somebody: User, settings: Any) -> None:
    settings.ORB_PERSISTENCE = "file"
    assert "set ORB_PERSISTENCE=sql" in story.of_run(a_run("verify"), somebody).step.text


def test_a_step_links_only_to_what_one_may_start() -> None:
    client = staff_client("view_run")
    page = client.get(reverse(RUN, args=[a_run().pk]))
    assert "Next: Compare the files with SQL before you switch to SQL." in words(page)
    assert "Verify…" not in words(page)


def test_a_job_says_how_long_it_waited_and_took(somebody: User) -> None:
    assert of_job(a_job(), somebody).sentences == [
        "olga started a migration of the files into SQL on 1 March 2026 at 12:05 UTC.",
        "It took 3 seconds, after it had waited 30 seconds for a worker.",
        "It is complete: 1,200 read, 2 new.",
    ]
    preview = of_job(a_job(arguments={"dry_run": True}), somebody)
    assert preview.sentences[0].startswith("olga started a preview of a migration ")
    assert preview.sentences[-1] == "It would have this result: 1,200 read, 2 new."
    assert preview.step.text.startswith("Nothing was written.")
    running = of_job(a_job(state="running", finished_at=None), somebody)
    assert running.sentences[1:] == ["It has been running for 10 seconds, after it had waited 30 seconds for a worker."]
    assert running.step.text == ""
    failed = of_job(a_job(state="failed", result=None), somebody)
    assert failed.sentences[-1] == "It failed, and what it had done is kept."
    assert of_job(a_job("check", result={"domains": {}}), somebody).sentences[-1] == "It is complete."


@pytest.mark.parametrize("name", ["job", "orbsite_job_change"])
def test_the_pages_of_a_job_fold_the_technical_facts(admin_client: Client, name: str) -> None:
    page = admin_client.get(reverse(f"admin:{name}", args=[a_job(worker="host:1").pk]))
    body, shown = page.content.decode(), words(page)
    assert shown.index("It took 3 seconds") < shown.index("Technical facts") < shown.index("host:1")
    assert body.rindex("<details", 0, body.index("host:1")) > 0
    assert "</details>" in body[body.index("host:1") :]


def test_the_page_of_a_run_asks_the_database_for_little(admin_client: Client, django_assert_num_queries: Any) -> None:
    run = a_run()
    for _ in range(30):
        a_job(started_at=BEGIN)
    with django_assert_num_queries(4):
        admin_client.get(reverse(RUN, args=[run.pk]))
