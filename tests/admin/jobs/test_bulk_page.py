"""The page of a bulk migration: all directories on one page, by few queries, and the failed ones tried again from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from orbsite.models.audit_log import Event
from orbsite.models.bulk_migrations import BulkDirectory, BulkMigration, identity_of
from orbsite.models.jobs import Job
from orbsite.operations.workers.workers import STALE_AFTER
from orbsite.storage.clock import utc_now
from tests.admin.starting import staff_client, words

pytestmark = pytest.mark.django_db


def bulk_of(**states: int) -> BulkMigration:
    bulk = BulkMigration.objects.create(**identity_of(Path("/data")), created_at=utc_now())
    rows = [
        BulkDirectory(
            bulk=bulk,
            **identity_of(Path(f"/data/<b>{state}-{number}")),
            state=state,
            error="it is broken" if state == "failed" else "",
            read=3 if state == "done" else 0,
            heartbeat=utc_now() - 2 * STALE_AFTER,
            worker="host:1:a:b",
        )
        for state, count in states.items()
        for number in range(count)
    ]
    BulkDirectory.objects.bulk_create(rows)
    return bulk


def address(name: str, bulk: BulkMigration) -> str:
    return reverse(f"admin:{name}", args=[bulk.pk])


def test_the_page_and_the_state_tell_how_far_all_directories_are(admin_client: Client) -> None:
    bulk = bulk_of(waiting=4, running=1, done=3, failed=2)
    state = admin_client.get(address("bulk_state", bulk)).json()
    assert (state["state"], state["has_ended"], state["percent"]) == ("running", False, 50)
    assert state["numbers"] == "5 of 10 directories have ended"
    assert dict(zip(state["columns"], state["rows"][0][1:], strict=True)) == {
        "all": 10,
        "waiting": 4,
        "running": 1,
        "done": 3,
        "failed": 2,
        "read": 9,
        "written": 0,
        "problems": 0,
    }
    assert (state["found"], [one["message"] for one in state["findings"]]) == (2, ["it is broken"] * 2)
    page = admin_client.get(address("bulk", bulk))
    body = page.content.decode()
    assert "5 of 10 directories have ended" in words(page)
    assert "silent, another worker takes it over" in words(page)
    assert "<b>" not in body
    assert body.count("console/live.js") == 1
    assert "<script>" not in body


@pytest.mark.parametrize(
    ("states", "state", "said"),
    [
        ({"done": 2}, "done", "All directories are migrated and verified."),
        ({"done": 2, "failed": 1}, "failed", "Resolve the reasons, and try them again."),
        ({"done": 2, "waiting": 1}, "waiting", "No worker is running."),
    ],
)
def test_the_state_says_what_to_do_next(states: dict[str, int], state: str, said: str, admin_client: Client) -> None:
    answer = admin_client.get(address("bulk_state", bulk_of(**states))).json()
    assert (answer["state"], answer["has_ended"]) == (state, state != "waiting")
    assert said in answer["said"]


def test_many_directories_take_as_many_queries_as_few(admin_client: Client, django_assert_num_queries: Any) -> None:
    pages = {"bulk": 7, "bulk_state": 5}
    bulk = bulk_of(waiting=1, running=1, done=1, failed=1)
    for number in (0, 2000):
        rows = [BulkDirectory(bulk=bulk, **identity_of(Path(f"/data/{one}")), state="failed") for one in range(number)]
        BulkDirectory.objects.bulk_create(rows, batch_size=500)
        for name, queries in pages.items():
            with django_assert_num_queries(queries):
                answer = admin_client.get(address(name, bulk))
            assert len(answer.content) < 20_000


def test_the_list_of_directories_is_filtered_by_state(admin_client: Client) -> None:
    bulk = bulk_of(done=3, failed=2)
    page = admin_client.get(address("bulk", bulk))
    (link,) = [one for state, _, one in page.context["lists"] if state == "failed"]
    assert link in page.content.decode().replace("&amp;", "&")
    assert {row.state for row in admin_client.get(link).context["cl"].result_list} == {"failed"}
    (row,) = BulkDirectory.objects.filter(state="failed")[:1]
    assert "it is broken" in words(admin_client.get(reverse("admin:orbsite_bulkdirectory_change", args=[row.pk])))


def test_failed_directories_are_tried_again_by_who_may_migrate() -> None:
    bulk = bulk_of(done=1, failed=2)
    looking = staff_client("view_bulkmigration", name="vera")
    assert "Try failed directories again" not in words(looking.get(address("bulk", bulk)))
    assert looking.post(address("bulk_retry", bulk)).status_code == 404
    assert BulkDirectory.objects.filter(state="failed").count() == 2
    olga = staff_client("start_migrate", name="olga")
    assert 'value="Try failed directories again"' in olga.get(address("bulk", bulk)).content.decode()
    assert olga.get(address("bulk_retry", bulk)).status_code == 405
    assert olga.post(address("bulk_retry", bulk)).status_code == 302
    assert BulkDirectory.objects.filter(state="waiting", tries=0).count() == 2
    assert Event.objects.filter(act="bulk migration retried", actor="olga").count() == 1


def test_the_number_of_workers_is_set_by_who_may_migrate() -> None:
    bulk = bulk_of(waiting=5)
    olga = staff_client("start_migrate", name="olga")
    for given in ("", "-1", "1001", "x", "٣"):
        olga.post(address("bulk_workers", bulk), {"workers": given})
        assert (Job.objects.count(), BulkMigration.objects.get().workers) == (0, 0)
    olga.post(address("bulk_workers", bulk), {"workers": "2"})
    assert [(job.operation, job.actor, job.arguments) for job in Job.objects.all()] == [
        ("migrate", "olga", {"bulk": bulk.pk})
    ] * 2
    assert [job.pk for job in olga.get(address("bulk", bulk)).context["jobs"]] == [2, 1]
    olga.post(address("bulk_workers", bulk), {"workers": "0"})
    assert set(Job.objects.values_list("state", flat=True)) == {"cancelled"}
    assert staff_client("view_bulkmigration", name="vera").post(address("bulk_workers", bulk)).status_code == 404


def test_nobody_else_finds_the_page(client: Client) -> None:
    bulk = bulk_of(waiting=1)
    nosy = staff_client("view_job", name="nosy")
    for name in ("bulk", "bulk_state"):
        assert nosy.get(address(name, bulk)).status_code == 404
        assert client.get(address(name, bulk)).status_code == 302
    boss = staff_client("start_migrate", name="boss")
    assert boss.get(reverse("admin:bulk", args=[bulk.pk + 1])).status_code == 404
    assert boss.get(reverse("admin:bulk", args=[2**63])).status_code == 404
