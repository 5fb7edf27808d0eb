"""The admin's first page: both stores side by side, for those who may see them, without counting what is large."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from orbsite.admin.dashboard import view
from orbsite.models.jobs import Job
from orbsite.models.ledger import Run
from orbsite.models.retention import RetentionPolicy
from orbsite.models.statistics import Growth
from orbsite.operations.backup.prune import newest_backup
from orbsite.operations.records.erase import erase
from orbsite.operations.statistics import figures
from orbsite.operations.statistics.daily import note_growth
from orbsite.persistence import migrate_all_file_to_sql
from orbsite.storage.clock import utc_now
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from tests.admin.starting import post, staff_client
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
INDEX = "/admin/"
LUNA_TOO = ("view_profilerow", "view_activemoderow")


@pytest.fixture(autouse=True)
def place(settings: Any, files: Path, tmp_path: Path) -> Path:
    settings.ORB_DATA_DIR, settings.ORB_BACKUP_DIR = files, tmp_path / "backups"
    settings.ORB_PERSISTENCE = "sql"
    settings.ORB_MIN_FREE_BYTES = 0
    return files


@pytest.fixture
def migrated(place: Path) -> Path:
    migrate_all_file_to_sql(place)
    return place


@pytest.fixture
def admin_user() -> User:
    return User.objects.create_superuser("admin", password="x")


def told(user: User, domain: str = "te", now: datetime = NOW) -> dict[str, list[str]]:
    """Return what is said of a domain: of the files, then of SQL, by the label of the row."""
    for row in (found := dict(view.context(user, now)["stores"]))[domain]:
        assert len(row.cells) == 2, found
    return {row.label: [cell.text for cell in row.cells] for row in found[domain]}


def words(response: Any) -> str:
    """Return what the dashboard says, without its tags, and without Django's own list below it."""
    body = response.content.decode().split('id="content"')[1].split('id="content-main"')[0]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def names(user: User, part: str = "alerts") -> set[str]:
    return {one.name for one in view.context(user, utc_now())[part]}


def test_both_stores_stand_side_by_side(migrated: Path, admin_user: User) -> None:
    SqlStore(TE).put(
        [ReflectionFactory(id="new", user_id="zoe", session_id="another", created_at=NOW - timedelta(hours=3))]
    )
    shown = told(admin_user)
    assert (shown["reflections"], shown["users"], shown["sessions"]) == (["142", "143"], ["14", "15"], ["29", "30"])
    assert shown["health"] == ["healthy", "healthy"]
    assert shown["newest record"] == ["3\xa0months ago", "3\xa0hours ago"]
    assert shown["size"][0].startswith("77.")
    assert told(admin_user, "luna")["profiles"] == ["72", "72"]
    assert told(admin_user, "luna")["active modes"] == ["15", "15"]
    assert "counted" not in shown


def test_where_there_is_nothing_the_page_says_so(admin_user: User, settings: Any, tmp_path: Path) -> None:
    settings.ORB_DATA_DIR = tmp_path / "nowhere"
    shown = told(admin_user)
    assert (shown["health"], shown["reflections"], shown["newest record"]) == (
        ["no file yet", "healthy"],
        ["-", "0"],
        ["-", "-"],
    )
    assert not (tmp_path / "nowhere").exists()


def test_a_torn_file_is_told_of_and_keeps_nothing_else_from_the_page(
    migrated: Path, admin_user: User, admin_client: Client
) -> None:
    (migrated / "te/reflections.json").write_bytes(b'{"torn')
    shown = told(admin_user)
    assert (shown["health"], shown["reflections"]) == (["damaged", "healthy"], ["-", "142"])
    assert told(admin_user, "luna")["health"] == ["healthy", "healthy"]
    page = admin_client.get(INDEX)
    assert page.status_code == 200
    assert "The file te/reflections.json is damaged" in words(page)
    assert (migrated / "te/reflections.json").read_bytes() == b'{"torn'


def test_a_missing_table_is_told_of(migrated: Path, admin_user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TE.models[next(iter(TE.models))]._meta, "db_table", "nowhere")
    assert told(admin_user)["health"] == ["healthy", "damaged"]
    assert "sql-te" in names(admin_user)


def test_the_page_counts_nothing_of_a_large_table(
    migrated: Path, admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "SMALL_ROWS", 100)
    shown = told(admin_user)
    assert (shown["reflections"], shown["counted"]) == (["142", "not counted yet"], ["just now", "-"])
    assert shown["newest record"][1] == "3\xa0months ago"  # from the index
    assert "uncounted" in names(admin_user)
    assert not any(name.startswith(("days-te", "ages-te")) for name in names(admin_user, "charts"))
    note_growth(lambda: NOW - timedelta(hours=5))
    SqlStore(TE).put([ReflectionFactory(id="new", created_at=NOW)])
    with CaptureQueriesContext(connection) as queries:
        shown = told(admin_user)
    assert (shown["reflections"], shown["counted"]) == (["142", "142"], ["just now", "5\xa0hours ago"])
    assert shown["newest record"][1] == "just now"
    assert "uncounted" not in names(admin_user)
    assert {"days-te", "ages-te"} <= names(admin_user, "charts")
    asked = [one["sql"] for one in queries.captured_queries if "te_reflections" in one["sql"]]
    assert asked
    assert all("LIMIT" in sql for sql in asked), asked


def test_the_page_does_not_read_a_large_file(migrated: Path, admin_user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    note_growth(lambda: NOW)
    monkeypatch.setattr(figures, "SMALL_BYTES", 50_000)
    monkeypatch.setattr(figures, "examine", lambda domain, _: () if domain.name != "te" else pytest.fail("it was read"))
    shown = told(admin_user, now=NOW + timedelta(hours=2))
    assert (shown["health"][0], shown["reflections"][0]) == ("too large to check here", "142")
    assert shown["counted"][0] == "2\xa0hours ago"
    assert told(admin_user, "luna")["health"][0] == "healthy"
    assert "unchecked" in names(admin_user)
    finding = {"domain": "te", "path": "te/reflections.json", "severity": "error", "message": "cannot be read"}
    Job.objects.create(
        operation="check", state="done", created_at=utc_now(), finished_at=utc_now(), result={"findings": [finding]}
    )
    assert names(admin_user) & {"unchecked", "damaged"} == {"damaged"}


def test_the_newest_row_of_growth_alone_keeps_what_the_page_shows(migrated: Path) -> None:
    note_growth(lambda: NOW)
    note_growth(lambda: NOW + timedelta(days=1))
    kept = {(row.day.day, row.details is not None) for row in Growth.objects.all()}
    assert kept == {(10, False), (11, True)}


def test_what_was_counted_of_an_erased_user_is_forgotten(migrated: Path) -> None:
    note_growth(lambda: NOW)
    erase([SqlStore(TE)], "ana-0", base=migrated)
    assert not Growth.objects.filter(details__isnull=False).exists()


def test_what_was_last_done_is_told(migrated: Path, admin_user: User) -> None:
    now = utc_now()
    tiles = {one.label: one for one in view.context(admin_user, now)["tiles"]}
    assert list(tiles) == ["Migration", "Verification", "Compaction", "Backup"]
    assert tiles["Migration"].details == "229 read, 229 new"
    assert tiles["Verification"].when == tiles["Compaction"].when == "never"
    assert tiles["Migration"].links[0].address == f"/admin/orbsite/run/{Run.objects.get().pk}/change/"
    Run.objects.create(operation="verify", state="failed", started_at=NOW, finished_at=NOW)
    at = now - timedelta(hours=2)
    Run.objects.create(operation="verify", state="complete", started_at=at, finished_at=at, counts={})
    (migrated / ".orb").mkdir(mode=0o700, exist_ok=True)
    (migrated / ".orb/facts.json").write_text('{"te": {"compact": "2026-03-01T00:00:00.000Z"}}')
    tiles = {one.label: one for one in view.context(admin_user, now)["tiles"]}
    assert tiles["Verification"].at == at
    assert tiles["Compaction"].at == datetime(2026, 3, 1, tzinfo=UTC)


def test_a_backup_is_one_that_has_its_manifest(tmp_path: Path) -> None:
    assert newest_backup(tmp_path / "nowhere") is None
    assert newest_backup(tmp_path) is None
    tmp_path.chmod(0o700)
    for name in ("20260301T000000Z", "20260302T000000Z-2", "20260303T000000Z", "20269999T000000Z", "export-1"):
        (tmp_path / name).mkdir(mode=0o700)
        if not name.startswith("20260303"):
            (tmp_path / name / "manifest.json").write_text("{}")
    (tmp_path / "20260304T000000Z").write_text("")
    assert newest_backup(tmp_path) == datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize("rows", [0, 200])
def test_the_page_asks_the_same_however_much_there_is(
    migrated: Path, admin_client: Client, django_assert_num_queries: Any, rows: int
) -> None:
    SqlStore(TE).put(ReflectionFactory.build_batch(rows))
    moment = utc_now()
    for number in range(rows // 20):
        Job.objects.create(operation="validate", state="done", created_at=moment, started_at=moment, finished_at=moment)
        Run.objects.create(operation="verify", state="complete", started_at=moment, finished_at=moment)
        RetentionPolicy.objects.create(name=f"p{number}", domain="te", rules={"keep_last": 1}, next_due=moment)
    with django_assert_num_queries(QUERIES):
        assert admin_client.get(INDEX).status_code == 200


QUERIES = 46
"""With three domains: two of the session, one of the admin's own log; about ten for each domain's rows."""


def test_nobody_sees_what_they_may_not(migrated: Path) -> None:
    note_growth(utc_now)
    Job.objects.create(operation="export", state="queued", created_at=NOW)
    page = words(staff_client(name="nothing").get(INDEX))
    for word in ("Needs attention", "Stores", "Last runs", "Queued and running jobs", "Charts"):
        assert word not in page
    luna = staff_client(*LUNA_TOO, name="luna")
    page = luna.get(INDEX)
    assert "profiles" in words(page)
    for word in ("reflections", "success", "Last runs", "export", "Growth"):
        assert word not in words(page)
    assert [name for name, _ in page.context["dashboard"]["stores"]] == ["luna"]
    assert {plot.name for plot in page.context["dashboard"]["charts"]} == {"tally-luna"}
    half = staff_client("view_profilerow", name="half").get(INDEX)
    assert half.context["dashboard"]["stores"] == []


def test_who_may_not_start_anything_has_no_buttons(migrated: Path, settings: Any, tmp_path: Path) -> None:
    settings.ORB_BACKUP_DIR = tmp_path / "nowhere"
    shown = staff_client("view_run", "view_reflectionrow", *LUNA_TOO, name="viewer").get(INDEX)
    assert "There is no backup" in words(shown)
    assert "Back up now" not in words(shown)
    assert b"console/start" not in shown.content
    assert b"console/operations/" not in shown.content
    shown = staff_client("view_run", "view_reflectionrow", *LUNA_TOO, "start_backup", name="keeper").get(INDEX)
    assert "Back up now" in words(shown)
    form = re.search(r'<form[^>]*action="/admin/console/start/back-up/".*?</form>', shown.content.decode(), re.DOTALL)
    assert form is not None
    assert "csrfmiddlewaretoken" in form[0]
    assert b"console/operations/migrate" not in shown.content


def test_a_button_starts_a_job_and_goes_to_its_page(migrated: Path, django_capture_on_commit_callbacks: Any) -> None:
    client = staff_client("start_measure", "start_maintain")
    with django_capture_on_commit_callbacks(execute=True):
        response = post(client, "start", None, "count")
    job = Job.objects.get()
    assert response["Location"] == reverse("admin:job", args=[job.pk])
    assert (job.operation, job.state, job.actor, job.error) == ("measure", "done", "olga", "")
    assert Growth.objects.get(domain="te", store="sql").counts["reflections"] == 142
    post(client, "start", None, "trust-the-clock")
    assert Job.objects.order_by("-pk")[0].arguments == {"trust_clock": True}


def test_to_look_at_a_button_starts_nothing(migrated: Path) -> None:
    client = staff_client("start_backup")
    address = reverse("admin:start", args=["back-up"])
    assert client.get(address).status_code == 405
    assert client.head(address).status_code == 405
    assert client.get(reverse("admin:start", args=["count"])).status_code == 404
    assert post(client, "start", None, "count").status_code == 404
    assert post(client, "start", None, "migrate").status_code == 404
    assert post(client, "start", None, "nothing").status_code == 404
    assert Client().post(address).status_code == 302
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="olga"))
    assert strict.post(address).status_code == 403
    assert not Job.objects.exists()


HOSTILE = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"'>&", "\u2028{{ 1 }}"]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_users_stay_texts(admin_client: Client, text: str) -> None:
    moment = utc_now()
    SqlStore(TE).put([ReflectionFactory(id=text, session_id=text, tags=(text,), created_at=moment)])
    RetentionPolicy.objects.create(
        name=text, domain="te", rules={"max_age_days": 1}, last_state="failed", last_error=text
    )
    Job.objects.create(operation="verify", state="failed", error=text, created_at=moment, finished_at=moment)
    body = admin_client.get(INDEX).content.decode()
    assert "<script>alert" not in body
    assert "<img src=x" not in body
    data = re.search(r'<script id="orb-charts" type="application/json">(.*?)</script>', body, re.DOTALL)
    assert data is not None
    plots = {plot["name"]: plot for plot in json.loads(data[1])}
    assert [one["name"] for one in plots["days-te"]["series"]] == [text]


def test_the_page_needs_nothing_from_elsewhere_and_nothing_inline(migrated: Path, admin_client: Client) -> None:
    response = admin_client.get(INDEX)
    body = response.content.decode()
    assert "default-src 'none'" in response["Content-Security-Policy"]
    ours = body.split('<div class="orb">')[1].split('<div id="content-main">')[0]
    assert not re.search(r"\s(style|on\w+)=", ours)
    scripts = re.findall(r"<script(?![^>]*application/json)[^>]*>", body)
    assert all('src="/static/' in one for one in scripts), scripts
    assert any("vendor/chart.umd.min.js" in one for one in scripts)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", body)


def test_headings_come_in_order_and_every_plot_is_a_table_too(migrated: Path, admin_client: Client) -> None:
    body = admin_client.get(INDEX).content.decode()
    levels = [int(one) for one in re.findall(r"<h([1-6])", body.split('id="content"')[1])]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert (
        body.count("<figure")
        == body.count("<summary>Show as table")
        == len(json.loads(re.search(r'id="orb-charts"[^>]*>(.*?)</script>', body, re.DOTALL)[1]))
    )
    assert ReflectionRow.objects.count() == 142


def test_what_is_vendored_is_as_the_page_says() -> None:
    vendor = Path(view.__file__).parents[2] / "static/console/vendor"
    script = (vendor / "chart.umd.min.js").read_text()
    version = re.search(r"Chart\.js v([0-9.]+)", script)
    assert version is not None
    assert f"chart.js {version[1]}" in (Path(__file__).parents[3] / "docs/dependencies.md").read_text()
    assert "sourceMappingURL" not in script  # collectstatic would look for the map
    assert "MIT License" in (vendor / "chart.LICENSE.md").read_text()
