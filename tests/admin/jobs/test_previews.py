"""What a preview shows: some records of each outcome, before and after, and no more; to those who may see the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from luna.models import ProfileRow
from orbsite.admin.diff import differences_of_json
from orbsite.admin.jobs.result import of_result
from orbsite.models.jobs import Job
from orbsite.operations.jobs import jobs
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.migration.preview import abridged
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import registered
from te.models import ReflectionRow
from tests.admin.starting import staff_client, words
from tests.support.factories import BEGIN

pytestmark = pytest.mark.django_db
ODD = "<script>alert(1)</script> \u2028 \U0001f600 ' \" & {{ x }}"


@pytest.fixture
def files(data_dir: Path, settings: Any) -> Path:
    """Files with something of every outcome, over rows that are there already."""
    settings.ORB_DATA_DIR = data_dir
    profile = {"userId": "ana", "preferences": [ODD], "constraints": [], "updatedAt": "2030-01-01T00:00:00.000Z"}
    profiles = {mode: profile | {"modeId": mode} for mode in ("newer", "older", "fresh", "same")}
    profiles["broken"] = {"userId": "ana", "modeId": "broken", "preferences": 7, "nul": "\0", "half": "\ud800"}
    items = [{"id": f"r-{n}", "input": ODD, "output": "x" * 5000, "tags": [], "createdAt": "2024-01-01T00:00:00.000Z"} for n in range(50)]  # fmt: skip
    items += [{"id": f"bad-{n}", "input": n} for n in range(30)]
    _write(data_dir / "luna" / "profiles.json", {"ana": {"profiles": profiles}})
    _write(data_dir / "te" / "reflections.json", {"sessions": {"s": items}, "userSessions": {"ana": ["s"]}})
    rows = {"newer": ("2029-01-01", ["before"]), "older": ("2031-01-01", ["another"]), "same": ("2030-01-01", [ODD])}
    for mode, (day, preferences) in rows.items():
        ProfileRow.objects.create(user_id="ana", mode_id=mode, preferences=preferences, constraints=[], updated_at=f"{day}T00:00:00Z")  # fmt: skip
    return data_dir


@pytest.fixture
def job(files: Path) -> Job:
    job = jobs.start("migrate", {"dry_run": True}, now=utc_now)
    assert jobs.execute(job.pk, now=utc_now)
    job.refresh_from_db()
    assert job.state == "done", job.error
    return job


def _write(path: Path, tree: Any) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(json.dumps(tree))
    path.chmod(0o600)


def _of(job: Job, kind: str, what: str) -> list[Any]:
    return [one for one in job.samples if (one["kind"], one["what"]) == (kind, what)]


def test_there_is_a_sample_of_each_outcome_and_no_more_than_twenty(job: Job) -> None:
    counts = {
        (kind, what): len(_of(job, kind, what))
        for kind in ("profiles", "reflections")
        for what in ("new", "replaced", "kept", "rejected", "unchanged")
    }
    assert {key: number for key, number in counts.items() if number} == {
        ("profiles", "new"): 1,
        ("profiles", "replaced"): 1,
        ("profiles", "kept"): 1,
        ("profiles", "rejected"): 1,
        ("reflections", "new"): 20,
        ("reflections", "rejected"): 20,
    }
    assert job.result["domains"]["te"]["kinds"]["reflections"]["new"] == 50
    assert job.result["domains"]["te"]["kinds"]["reflections"]["rejected"] == 30


def test_a_sample_has_the_record_before_and_after(job: Job) -> None:
    (changed,), (kept,) = _of(job, "profiles", "replaced"), _of(job, "profiles", "kept")
    assert (changed["before"]["preferences"], changed["after"]["preferences"]) == (["before"], [ODD])
    assert (kept["before"]["preferences"], kept["after"]["preferences"]) == (["another"], [ODD])
    assert changed["key"] == '["ana","newer"]'
    assert changed["path"] == "$.ana.profiles.newer"
    (refused,) = _of(job, "profiles", "rejected")
    assert refused["before"] is None
    assert json.loads(refused["after"])["nul"] == "\0"
    assert r'"half": "\ud800"' in refused["after"]
    assert "expected" in refused["reason"]


def test_long_texts_are_cut_and_told_apart(job: Job) -> None:
    text = _of(job, "reflections", "new")[0]["after"]["output"]
    assert len(text) < 2100
    assert "3000 more characters" in text
    assert abridged("x" * 2000) == "x" * 2000
    assert abridged("x" * 3000 + "a") != abridged("x" * 3000 + "b")
    assert len(abridged(["x"] * 1000)) == 101
    assert abridged({"a": ["x" * 2001]})["a"][0].startswith("x" * 2000 + "…")


def test_nothing_was_written(job: Job) -> None:
    assert ReflectionRow.objects.count() == 0
    assert ProfileRow.objects.count() == 3


def test_the_page_shows_each_outcome_with_its_difference(job: Job, admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:job", args=[job.pk]))
    said = words(page)
    for heading in ("Profiles: would be added", "Profiles: would be changed", "Profiles: would stay unchanged in SQL",
                    "Profiles: would be rejected", "Reflections: would be added (the first 20)"):  # fmt: skip
        assert heading in said
    assert said.index("Profiles: would be added") < said.index("Profiles: would be changed")
    body = page.content.decode()
    assert "<script>alert" not in body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "Reflections: would be changed" not in said


def test_whoever_may_not_see_the_rows_sees_none_of_them(job: Job) -> None:
    page = staff_client("view_job", "start_migrate", "view_reflectionrow").get(reverse("admin:job", args=[job.pk]))
    said = words(page)
    assert "Reflections: would be added" in said
    assert "Profiles: would be" not in said
    assert "another" not in said
    nobody = words(staff_client("view_job", name="paul").get(reverse("admin:job", args=[job.pk])))
    assert "would be added" not in nobody
    assert "rejected" in nobody


def test_samples_are_no_part_of_what_commands_and_programs_are_told(files: Path) -> None:
    report = migrate(registered(["te", "luna"]), files, now=lambda: BEGIN, dry_run=True)
    assert report.samples
    assert ODD[:8] not in json.dumps(report.as_json())


def test_a_run_that_writes_keeps_no_samples(files: Path) -> None:
    job = jobs.start("migrate", {"backup": False}, now=utc_now)
    jobs.execute(job.pk, now=utc_now)
    job.refresh_from_db()
    assert (job.state, job.samples) == ("done", None)


@pytest.mark.django_db(databases=["default", "postgresql"])
def test_samples_can_be_kept_in_postgresql(job: Job, postgresql_alias: str) -> None:
    # what JSON can say and PostgreSQL cannot hold, such as NUL, is kept as text
    values = {"operation": "migrate", "created_at": BEGIN, "samples": job.samples}
    kept = Job.objects.using(postgresql_alias).create(**values)
    assert Job.objects.using(postgresql_alias).get(pk=kept.pk).samples == job.samples


@pytest.mark.parametrize(
    ("before", "after", "signs"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": "-+"}),
        ({"a": 1}, {"a": 1}, {}),
        (None, {"a": 1, "b": "x\ny"}, {"a": "+", "b": "++"}),
        ({"a": ["x", "y"]}, {"a": ["y"]}, {"a": "- "}),
        (None, None, {}),
    ],
)
def test_differences_are_told_field_by_field(before: Any, after: Any, signs: dict[str, str]) -> None:
    parts = differences_of_json(before, after)
    assert {part.name: "".join(line.sign for line in part.lines) for part in parts} == signs


def test_of_very_many_findings_the_first_are_shown() -> None:
    findings = [{"domain": "te", "path": str(n), "severity": "warning", "message": "m"} for n in range(500)]
    shown = of_result({"run": 1, "ok": True, "domains": {}, "findings": findings, "more_findings": 7})
    assert (len(shown.findings), shown.left_out) == (200, 307)
