"""The page of trends answers questions, each with a plot and a table, or says what to do first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from orbsite.admin.dashboard.charts import Chart
from orbsite.admin.dashboard.trend_charts import reason_of, trend_charts
from orbsite.admin.dashboard.trend_data import read_trends
from orbsite.models.ledger import Reject, Run
from orbsite.models.retention import PolicyRun, RetentionPolicy
from orbsite.models.statistics import CutoverProgress, Growth, HourlyUse
from tests.admin.starting import staff_client, words

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)
PAGE = "admin:trends"


@pytest.fixture(autouse=True)
def place(settings: Any, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ORB_DATA_DIR, settings.ORB_PERSISTENCE = files, "sql"
    monkeypatch.setattr("orbsite.admin.dashboard.trend_data.free_bytes", lambda: 4000)
    monkeypatch.setattr("orbsite.admin.dashboard.trends.utc_now", lambda: NOW)


@pytest.fixture
def somebody() -> User:
    return User.objects.create_superuser("ada", password="x")


def chart(user: User, name: str) -> Chart:
    return next(one for one in trend_charts(read_trends(user, NOW)) if one.name == name)


def values(one: Chart) -> dict[str, list[float | None]]:
    return {series.name: list(series.values) for series in one.series}


def grown(days: int, domain: str = "te", store: str = "sql", begin: int = 100) -> None:
    for ago in range(days):
        Growth.objects.create(
            day=(NOW - ago * DAY).date(),
            domain=domain,
            store=store,
            size=begin + 100 * (days - ago),
            counts={"reflections": 10 * (days - ago)},
            noted_at=NOW,
        )


def removed(number: int, ago: int, operation: str = "compact", what: str = "removed") -> None:
    counts = {"te": {"reflections": {what: number}}}
    Run.objects.create(operation=operation, state="complete", started_at=NOW - ago * DAY, counts=counts)


def test_the_disk_is_full_in_so_many_days(somebody: User) -> None:
    grown(10)
    one = chart(somebody, "forecast")
    assert one.summary.startswith("Full in about 40 days. It grows by 100")
    assert values(one)["stored on this disk"][:10] == list(range(200, 1200, 100))
    assert values(one)["forecast"][9:12] == [1100, 1200, 1300]
    assert one.labels[10] == "2026-03-11"


def test_the_stores_on_one_disk_are_added_and_days_without_one_are_left_out(somebody: User) -> None:
    grown(10)
    grown(8, store="file", begin=0)
    grown(10, domain="luna")
    assert values(chart(somebody, "forecast"))["stored on this disk"][:2] == [500, 700]
    assert "Full in about 20 days" in chart(somebody, "forecast").summary


@pytest.mark.parametrize(
    ("days", "free", "expected"),
    [
        (0, 4000, "There are no daily statistics yet."),
        (3, 4000, "It cannot be told yet: it needs 7 days of statistics. There are 3."),
        (9, None, "It cannot be told yet: the free space is not known."),
        (9, 10**9, "Not within ten years."),
        (9, 7000, "Full in about 2 months."),
    ],
)
def test_what_cannot_be_told_is_said(
    somebody: User, monkeypatch: pytest.MonkeyPatch, days: int, free: int | None, expected: str
) -> None:
    grown(days)
    monkeypatch.setattr("orbsite.admin.dashboard.trend_data._free", lambda: free)
    assert chart(somebody, "forecast").summary.startswith(expected)


def test_retention_is_set_against_what_would_be_there_without_it(somebody: User) -> None:
    grown(4)
    removed(5, 5)  # before the first day
    removed(7, 2)
    removed(3, 1)
    removed(1, 0, "undo", "restored")
    one = chart(somebody, "retention-te")
    assert values(one) == {"stored": [10, 20, 30, 40], "without retention": [10, 27, 40, 49]}
    assert one.summary.startswith("Since 07 March 2026 retention has removed 9 reflections. 40 are stored; without it")


def test_retention_of_files_is_told_by_its_policies(somebody: User, settings: Any) -> None:
    settings.ORB_PERSISTENCE = "file"
    grown(3, store="file")
    policy = RetentionPolicy.objects.create(name="few", domain="te", store="file", rules={"keep_last": 1})
    result = {"domains": {"te": {"kinds": {"reflections": {"removed": 4}}}}}
    PolicyRun.objects.create(policy=policy, slot=NOW, state="done", started_at=NOW - DAY, result=result)
    assert values(chart(somebody, "retention-te"))["without retention"] == [10, 24, 34]


def test_a_cut_over_is_told_by_users_and_by_records(somebody: User) -> None:
    counts = {"equal": 3, "differ": 1, "only_in_files": 2, "only_in_sql": 0, "differ_records": 7}
    CutoverProgress.objects.create(day=NOW.date(), domain="te", counts=counts, noted_at=NOW)
    one = chart(somebody, "cutover-te")
    assert one.summary == (
        "Of 6 users, on 10 March 2026: 3 equal, 1 differ, 2 only in files. 7 records are of users that are not equal."
    )
    assert values(one)["only in SQL"] == [0]
    counts = {"te": {"reflections": {"equal": 9, "missing": 2, "extra": 1}}}
    run = Run.objects.create(operation="verify", state="complete", started_at=NOW, counts=counts)
    one = chart(somebody, "verifications")
    assert one.summary == f"At the last verification, run {run.pk}, 9 records were equal, and 3 were not."
    assert values(one) == {"equal": [9], "differ": [0], "only in files": [2], "only in SQL": [1]}


def test_rejects_are_told_by_reason_and_day(somebody: User) -> None:
    for ago, reason in ((1, "'soon' is no time"), (0, "'later' is no time"), (0, "has 12 tags")):
        run = Run.objects.create(operation="migrate", started_at=NOW - ago * DAY)
        Reject.objects.create(run=run, domain="te", kind="reflections", path="$", reason=reason, original="{}")
    one = chart(somebody, "rejects")
    assert one.summary == "Mostly “… is no time”: 2 of the last 3 rejects."
    assert values(one) == {"… is no time": [1, 1], "has N tags": [0, 1]}


def test_a_reason_has_no_values_of_users() -> None:
    assert reason_of("the tag 'secret 7' has 300 characters, “so” and \"so\"") == "the tag … has N characters, … and …"


def test_use_is_told_by_client_and_hour(somebody: User) -> None:
    for name, ago, reads, saves in (("app", 0, 5, 1), ("app", 3, 2, 0), ("bot", 0, 1, 9), ("old", 60, 9, 9)):
        hour = (NOW - timedelta(hours=ago)).replace(minute=0)
        HourlyUse.objects.create(hour=hour, client=name, reads=reads, saves=saves)
    one = chart(somebody, "use-reads")
    assert one.summary == "8 reads in the last 48 hours, the most by app: 7."
    assert (one.labels[-1], len(one.labels)) == ("2026-03-10 12:00", 48)
    assert {name: row[-4:] for name, row in values(one).items()} == {"app": [2, 0, 0, 5], "bot": [0, 0, 0, 1]}
    assert chart(somebody, "use-saves").summary.endswith("the most by bot: 9.")


def test_clients_are_named_to_those_who_may_see_tokens_alone() -> None:
    HourlyUse.objects.create(hour=NOW.replace(minute=0), client="app (12345678…)", reads=1)
    seen = words(staff_client("view_growth").get(reverse(PAGE)))
    assert "1 reads in the last 48 hours, the most by all clients: 1." in seen
    assert "12345678" not in seen
    assert "12345678" in words(staff_client("view_growth", "view_token", name="otto").get(reverse(PAGE)))


def test_without_data_each_plot_says_what_to_do_first(admin_client: Client) -> None:
    page = admin_client.get(reverse(PAGE))
    shown, body = words(page), page.content.decode()
    assert body.count("<figure") == 8
    assert '<svg class="orb-plot"' not in body
    for link in ("Run maintenance…", "Count and compare…", "Verify…", "Migrate…", "Create a token…"):
        assert link in shown
    seen = words(staff_client("view_growth", "view_run").get(reverse(PAGE)))
    assert "Verify, which compares" in seen
    assert not any(link in seen for link in ("Verify…", "Create a token…"))


def test_every_plot_is_drawn_and_told_as_a_table(admin_client: Client) -> None:
    grown(10)
    removed(3, 1)
    body = admin_client.get(reverse(PAGE)).content.decode()
    assert body.count('<svg class="orb-plot"') == body.count("<details>") == 2
    assert 'role="img" aria-label="When will the disk be full? Full in about 40 days.' in body
    assert "style=" not in body.split('id="content-main"')[1].split('id="footer"')[0]


def test_the_page_is_not_there_for_somebody_who_may_see_nothing(client: Client) -> None:
    assert staff_client().get(reverse(PAGE)).status_code == 404
    seen = words(staff_client("view_reject", name="otto").get(reverse(PAGE)))
    assert "Why are records rejected?" in seen
    assert "disk" not in seen


def test_the_page_asks_the_same_however_much_there_is(admin_client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(8):
        admin_client.get(reverse(PAGE))
    grown(10)
    removed(3, 1)
    HourlyUse.objects.create(hour=NOW.replace(minute=0), client="app", reads=1)
    with django_assert_num_queries(8):
        admin_client.get(reverse(PAGE))
