"""Exports are taken away as a whole or file by file, by those who may, and from no other place."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.test import Client
from django.urls import reverse

from luna.domain import DOMAIN as LUNA
from orbsite.admin.jobs.downloads import zipped
from orbsite.models.audit_log import Event
from orbsite.models.jobs import Job
from orbsite.operations.jobs import jobs
from orbsite.storage.clock import utc_now
from orbsite.stores import open_sql_store
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from tests.admin.starting import confirm, forget, post, staff_client, words
from tests.support.factories import BEGIN, ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def place(settings: Any, tmp_path: Path) -> Path:
    settings.ORB_BACKUP_DIR, settings.ORB_PERSISTENCE = tmp_path / "backups", "sql"
    open_sql_store(LUNA).put(ProfileFactory.build_batch(3))
    open_sql_store(TE).put([*ReflectionFactory.build_batch(3), ReflectionFactory.build(user_id="bob", session_id="b")])
    return tmp_path / "backups"


def exported(**arguments: Any) -> Job:
    job = jobs.start("export", arguments, now=utc_now)
    jobs.execute(job.pk, now=utc_now)
    job.refresh_from_db()
    assert job.state == "done", job.error
    return job


@pytest.fixture
def keeper() -> Client:
    client = staff_client("start_export", "view_job")
    confirm(client)
    return client


def test_an_export_is_taken_away_as_an_archive_of_its_files(place: Path, keeper: Client) -> None:
    job = exported(only=["luna", "te"])
    name = job.result["directory"]
    assert re.fullmatch(r"export-\d{8}T\d{12}Z", name)
    answer = post(keeper, "download", {}, job.pk)
    assert answer["Content-Type"] == "application/zip"
    assert answer["Content-Disposition"] == f'attachment; filename="{name}.zip"'
    assert answer["Cache-Control"] == "no-store"
    archive = ZipFile(io.BytesIO(answer.getvalue()))
    assert archive.testzip() is None
    assert archive.namelist() == ["luna/profiles.json", "te/reflections.json"]
    for file in archive.namelist():
        assert archive.read(file) == (place / name / file).read_bytes()
        assert archive.getinfo(file).external_attr >> 16 & 0o777 == 0o600


def test_a_single_file_is_taken_away_as_it_is(place: Path, keeper: Client) -> None:
    job = exported(user="bob", only=["luna", "te"])
    page = words(keeper.get(reverse("admin:job", args=[job.pk])))
    assert "export" in page
    answer = post(keeper, "download", {"domain": "te"}, job.pk)
    content = answer.getvalue()
    assert content == (place / job.result["directory"] / "te" / "reflections.json").read_bytes()
    assert b"bob" in content
    assert b"ana" not in content
    assert answer["Content-Type"] == "application/json"
    assert answer["Content-Disposition"].endswith('-reflections.json"')


def test_a_sealed_export_is_opened_for_whoever_downloads_it(place: Path, keeper: Client, settings: Any) -> None:
    settings.ORB_KEYS = f"k:{base64.b64encode(bytes(range(32))).decode()}"
    ReflectionRow.objects.all().delete()
    open_sql_store(TE).put([ReflectionFactory.build(user_id="bob", input="canary")])
    job = exported(only=["te"])
    stored = (place / job.result["directory"] / "te/reflections.json").read_bytes()
    assert stored.startswith(b"ORBE")
    content = post(keeper, "download", {"domain": "te"}, job.pk).getvalue()
    assert json.loads(content)["userSessions"]["bob"]
    assert b"canary" in content
    archive = ZipFile(io.BytesIO(post(keeper, "download", {}, job.pk).getvalue()))
    assert archive.read("te/reflections.json") == content
    settings.ORB_KEYS = ""
    answer = post(keeper, "download", {}, job.pk, follow=True)
    assert "cannot be sent" in answer.content.decode()


def test_who_took_what_is_noted_and_what_was_in_it_is_not(place: Path, keeper: Client) -> None:
    job = exported(only=["te"])
    post(keeper, "download", {}, job.pk).getvalue()
    event = Event.objects.get(act="download")
    assert (event.actor, event.subject) == ("olga", str(job.pk))
    assert event.facts == {"directory": job.result["directory"], "domains": ["te"]}


def test_everything_asks_for_the_password_and_one_user_does_not(place: Path, keeper: Client) -> None:
    everything, one = exported(), exported(user="ana")
    forget(keeper)
    response = post(keeper, "download", {}, everything.pk)
    assert response["Location"].startswith(reverse("admin:console_again"))
    assert not Event.objects.filter(act="download").exists()
    assert post(keeper, "download", {}, one.pk).status_code == 200


def test_nothing_is_there_for_those_who_may_not_export(place: Path, keeper: Client) -> None:
    job = exported()
    assert keeper.get(reverse("admin:download", args=[job.pk])).status_code == 405
    viewer = staff_client("view_job", "start_migrate", name="vera")
    assert post(viewer, "download", {}, job.pk).status_code == 404
    assert "Download" not in viewer.get(reverse("admin:job", args=[job.pk])).content.decode()
    assert "Download all files (zip)" in keeper.get(reverse("admin:job", args=[job.pk])).content.decode()
    assert post(keeper, "download", {}, job.pk + 1).status_code == 404


@pytest.mark.parametrize(
    "directory",
    ["", "..", "../data", "export-20260101T000000Z/..", "/etc", "uploads", "export-20260101T000000000000Z\n", None, 7],
)
def test_a_job_that_names_another_place_gives_nothing(place: Path, keeper: Client, directory: Any) -> None:
    for one in (place, place / "..", place / "../data", place / "uploads", place / "export-20260101T000000000000Z\n"):
        (one / "te").mkdir(mode=0o700, parents=True, exist_ok=True)
        (one / "te" / "reflections.json").write_text("{}")
    (place / "export-20260101T000000Z").mkdir()
    job = Job.objects.create(
        operation="export", state="done", created_at=BEGIN, result={"directory": directory, "domains": {}}
    )
    answer = post(keeper, "download", {}, job.pk, follow=True)
    assert "The exported files are not on this server" in answer.content.decode()
    assert not Event.objects.filter(act="download").exists()


@pytest.mark.parametrize("what", ["link to the file", "link to its directory", "link to all", "pipe", "nothing"])
def test_no_link_and_no_pipe_is_followed(place: Path, keeper: Client, tmp_path: Path, what: str) -> None:
    job = exported(only=["te"], user="ana")
    root = place / job.result["directory"]
    file, elsewhere = root / "te" / "reflections.json", tmp_path / "elsewhere"
    if what == "link to all":
        root.rename(elsewhere)
        root.symlink_to(elsewhere)
    elif what == "link to its directory":
        (root / "te").rename(elsewhere)
        (root / "te").symlink_to(elsewhere)
    else:
        file.rename(elsewhere)
        if what == "link to the file":
            file.symlink_to(elsewhere)
        elif what == "pipe":
            os.mkfifo(file)
    answer = post(keeper, "download", {}, job.pk, follow=True)
    assert "The exported files are not on this server" in answer.content.decode()


def test_another_operation_s_job_gives_nothing(place: Path, keeper: Client) -> None:
    done = exported(user="ana")
    Job.objects.filter(pk=done.pk).update(operation="backup")
    assert (
        "The exported files are not on this server"
        in post(keeper, "download", {}, done.pk, follow=True).content.decode()
    )


def test_an_archive_is_made_piece_by_piece(tmp_path: Path) -> None:
    (tmp_path / "te").mkdir(mode=0o700)
    data = os.urandom(1 << 21)
    (tmp_path / "te" / "reflections.json").write_bytes(data)
    pieces = list(zipped(tmp_path, [TE.file], BEGIN))
    assert len(pieces) > 8
    assert max(map(len, pieces)) < 1 << 19
    assert ZipFile(io.BytesIO(b"".join(pieces))).read("te/reflections.json") == data
