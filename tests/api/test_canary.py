"""What users wrote, and what lets somebody in, is in no log, on no page that tells of an error, and in no figure."""

from __future__ import annotations

import errno
import json
import logging
import traceback
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import OperationalError
from django.db.models.query import QuerySet
from django.test import Client
from django.urls import reverse

from luna.domain import DOMAIN as LUNA
from luna.models import ProfileRow
from orbsite import stores
from orbsite.models.jobs import Job
from orbsite.operations.jobs import catalog
from orbsite.runtime.json_logging import JSONLines
from orbsite.storage import errors
from orbsite.storage.filesystem.syscalls import FileSystem
from orbsite.storage.records.decoder import read
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.api.conftest import Caller, make_token
from tests.support.factories import ConstraintFactory, ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db
CANARY = "canary-93b1c7"
USER = "/api/v1/users/ana"
MERGE = "application/merge-patch+json"


@pytest.fixture(autouse=True)
def told() -> Iterator[list[str]]:
    """Every line of the log, as production writes it; looked through when all is over."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JSONLines().format(record))

    handler, root = Kept(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lines
    root.removeHandler(handler)
    root.setLevel(level)
    assert [line for line in lines if CANARY in line] == []


def _write(ana: Caller) -> list[Any]:
    """Write canaries wherever a user may write, and be refused with some in every way."""
    text = f"{CANARY}\r\n\x1b[31m\u202e"
    reflection = {
        "id": "r-1",
        "input": text,
        "output": text,
        "tags": [CANARY],
        "notes": text,
        "unknown": {CANARY: CANARY},
    }
    profile = {
        "preferences": [text],
        "constraints": [{"id": "c", "type": CANARY, "active": True, "description": text, CANARY: text}],
        CANARY: CANARY,
    }
    one, all_of_them = f"{USER}/reflections/r-1", f"{USER}/reflections"
    made = [ana.post(all_of_them, reflection), ana.put(f"{USER}/profiles/mars", profile),
            ana.patch(one, {"notes": CANARY * 2}), ana.get(f"{all_of_them}?text={CANARY}&tag={CANARY}")]  # fmt: skip
    assert [answer.status_code for answer in made] == [201, 201, 200, 200]
    return [
        ana.post(all_of_them, {**reflection, "input": 5, CANARY: "\x00"}),
        ana.post(all_of_them, {**reflection, "output": "other"}),
        ana.post(all_of_them, [reflection, {**reflection, "id": "r-1"}]),
        ana.post(all_of_them, {**reflection, "createdAt": CANARY}),
        ana.put(one, f'{{"input": "{CANARY}", "input": "{CANARY}"}}'.encode()),
        ana.put(one, f'{{"input": "{CANARY}'.encode()),
        ana.put(one, CANARY.encode(), kind="text/plain"),
        ana.put(one, reflection, If_Match=f'"{CANARY}"'),
        ana.put(one, reflection, Content_Encoding=CANARY),
        ana.post(all_of_them, reflection, Idempotency_Key=f"{CANARY}\x7f"),
        ana.put(f"{USER}/profiles/mars", {**profile, "preferences": CANARY}),
        ana.put(f"{USER}/profiles/mars", {**profile, "constraints": [{"id": 5, "description": text}]}),
        ana.patch(one, {"input": {CANARY: None}}),
        ana.get(f"{all_of_them}?{CANARY}={CANARY}"),
        ana.get(f"{all_of_them}?cursor={CANARY}"),
        ana.get(f"{all_of_them}?from={CANARY}"),
        ana.get(f"{USER}/export", Accept=f"text/{CANARY}"),
        ana.get(f"/{CANARY}"),
        ana("PUT", one, reflection, kind=f"application/json; charset={CANARY}"),
        Caller(CANARY).get(one),
        Caller().get(one, Authorization=f"Basic {CANARY}"),
        Caller().get(one, Cookie=f"sessionid={CANARY}"),
    ]


@pytest.mark.usefixtures("mode")
def test_whatever_is_written_and_refused_is_in_no_log_and_no_figure(
    ana: Caller, operator: Caller, told: list[str]
) -> None:
    for number, answer in enumerate(_write(ana)):
        assert 400 <= answer.status_code < 500, number
        body = answer.json()
        assert CANARY not in body["detail"] + body["title"] + body["instance"], number
        for one in body.get("errors", []):
            assert CANARY not in one["message"], number
    assert CANARY not in operator.get("/metrics").content.decode()
    assert len([line for line in told if json.loads(line)["logger"] == "orbsite.requests"]) > 20


FAULTS = [
    RuntimeError(CANARY),
    KeyError(CANARY),
    UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY),
    OperationalError(CANARY),
    OSError(errno.EIO, CANARY, CANARY),
    errors.StoreUnavailable("out of reach"),
    errors.SaveOutcomeUnknown("lost"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("with_key", [False, True])
def test_an_error_tells_nothing_of_what_it_choked_on(
    ana: Caller, operator: Caller, monkeypatch: pytest.MonkeyPatch, fault: Exception, with_key: bool
) -> None:
    one, many = ({"Idempotency_Key": key} if with_key else {} for key in ("one", "many"))
    assert ana.put(f"{USER}/reflections/r-1", {"input": CANARY, "output": CANARY}).status_code == 201

    def fail(*_: Any, **__: Any) -> Any:
        try:
            raise ValueError(CANARY)
        except ValueError as cause:
            raise fault from cause

    for place in ("put", "fetch", "find", "add", "get", "delete"):
        monkeypatch.setattr(type(stores.open_store(TE)), place, fail, raising=False)
    asked = [
        ana.post(f"{USER}/reflections", {"input": CANARY, "output": "o"}, **one),
        ana.post(f"{USER}/reflections", [{"input": CANARY, "output": "o"}], **many),
        ana.get(f"{USER}/reflections"),
        ana.put(f"{USER}/reflections/r-1", {"input": CANARY, "output": "o"}),
        ana.patch(f"{USER}/reflections/r-1", {"output": CANARY}),
        ana.get(f"{USER}/export"),
    ]
    assert {answer.status_code for answer in asked} <= {500, 503, 409}
    assert 500 in {answer.status_code for answer in asked} or isinstance(fault, errors.OrbError | OperationalError)
    assert [answer.content for answer in asked if CANARY in answer.content.decode()] == []
    assert CANARY not in operator.get("/metrics").content.decode()
    assert CANARY not in Caller().get("/readyz").content.decode()


@pytest.mark.slow
@pytest.mark.parametrize("spoil", ["cut", "repeated", "no json", "not text", "wrong item"])
def test_a_damaged_file_tells_nothing_of_what_is_in_it(
    ana: Caller, operator: Caller, settings: Any, tmp_path: Path, spoil: str
) -> None:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = "file", tmp_path / "data"
    assert ana.put(f"{USER}/reflections/r-1", {"input": CANARY, "output": CANARY, "tags": [CANARY]}).status_code == 201
    path = tmp_path / "data/te/reflections.json"
    data = path.read_bytes()
    spoiled = {
        "cut": data[:-20],
        "repeated": data.replace(b'"output"', b'"input"'),
        "no json": data.replace(b'"input"', CANARY.encode()),
        "not text": data.replace(CANARY.encode(), CANARY.encode() + b"\xff", 1),
        "wrong item": data.replace(f'"{CANARY}"'.encode(), f'{{"{CANARY}": 1}}'.encode(), 1),
    }[spoil]
    assert spoiled != data
    path.write_bytes(spoiled)
    stores._of_this_process.clear()
    answers = [
        ana.get(f"{USER}/reflections"),
        ana.get(f"{USER}/reflections/r-1"),
        ana.put(f"{USER}/reflections/r-1", {"input": "i", "output": "o"}),
        ana.post(f"{USER}/reflections", {"input": "i", "output": "o"}),
        operator.get("/metrics"),
        operator.get("/api/v1/operations/stats"),
        Caller().get("/readyz"),
    ]
    assert {answer.status_code for answer in answers} - {200, 201}
    assert [answer.content for answer in answers if CANARY in answer.content.decode()] == []


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_fails_tells_nothing(
    ana: Caller, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = "file", tmp_path / "data"
    assert ana.put(f"{USER}/reflections/r-1", {"input": CANARY, "output": "o"}).status_code == 201

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(fault, "the disk", CANARY)

    for name in ("write", "sync", "sync_data"):
        monkeypatch.setattr(FileSystem, name, fail)
    answer = ana.put(f"{USER}/reflections/r-1", {"input": CANARY * 2, "output": "o"})
    assert answer.status_code == 503
    assert CANARY not in answer.content.decode()


def test_a_row_that_does_not_decode_tells_nothing(ana: Caller, settings: Any) -> None:
    settings.ORB_PERSISTENCE = "sql"
    stores.open_store(TE).put([ReflectionFactory(id="r-1")])
    stores.open_store(LUNA).put([ProfileFactory(mode_id="mars")])
    ReflectionRow.objects.update(tags=[{CANARY: CANARY}])
    ProfileRow.objects.update(preferences=[{CANARY: CANARY}])
    answers = [
        *(
            ana.get(f"{USER}/{place}")
            for place in ("reflections", "reflections/r-1", "profiles", "profiles/mars", "sessions")
        ),
        ana.put(f"{USER}/reflections/r-1", {"input": "i", "output": "o"}),
        ana.patch(f"{USER}/profiles/mars", {"a": 1}),
        ana.delete(f"{USER}/profiles/mars"),
    ]
    assert 409 in {answer.status_code for answer in answers}
    assert [answer.content for answer in answers if CANARY in answer.content.decode()] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: type(one).__name__)
def test_a_job_that_fails_tells_nothing(
    operator: Caller, admin_client: Client, monkeypatch: pytest.MonkeyPatch, fault: Exception,
    django_capture_on_commit_callbacks: Any,
) -> None:  # fmt: skip
    def fail(*_: Any, **__: Any) -> Any:
        raise fault

    monkeypatch.setattr(catalog.Verify, "run", fail)
    with django_capture_on_commit_callbacks(execute=True):
        started = operator.post("/api/v1/operations/verify", {})
    job = operator.get(started["Location"])
    assert job.json()["state"] == "failed"
    page = admin_client.get(reverse("admin:orbsite_job_change", args=[Job.objects.get().pk]))
    for content in (job.content, page.content, admin_client.get(reverse("admin:orbsite_job_changelist")).content):
        assert CANARY not in content.decode()
    with_queue = [str(row) for row in Job.objects.values()]
    assert CANARY not in "".join(with_queue)


@pytest.fixture
def admin() -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root", password=f"{CANARY}-password"))
    return client


@pytest.mark.parametrize("fault", FAULTS[:5], ids=lambda one: type(one).__name__)
def test_the_admins_error_pages_tell_nothing(admin: Client, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    stores.open_sql_store(TE).put([ReflectionFactory(id="r-1", input=CANARY, notes=CANARY)])
    pages = [reverse("admin:te_reflectionrow_change", args=["r-1"]), reverse("admin:te_reflectionrow_changelist")]
    assert CANARY in admin.get(pages[0]).content.decode(), "who may see it does"

    def fail(*_: Any, **__: Any) -> Any:
        raise fault

    monkeypatch.setattr(QuerySet, "get", fail)
    monkeypatch.setattr("orbsite.admin.records.model_admin.RecordAdmin.get_search_results", fail)
    form = {"input": CANARY, "output": CANARY, "session_id": "s", "tags": "[]", "created_at": "2024-01-01T00:00:00Z"}
    answers = [
        admin.get(pages[0]),
        admin.post(pages[0], form),
        admin.get(f"{pages[1]}?q={CANARY}"),
        Client(raise_request_exception=False).post(reverse("admin:login"), {"username": "root", "password": CANARY}),
    ]
    monkeypatch.undo()
    assert 500 in {answer.status_code for answer in answers}
    shown = [answer.content.decode() for answer in answers]
    assert [text for text in shown if CANARY in text or "Traceback" in text or "settings" in text.lower()] == []


def test_the_admins_refusals_and_its_own_log_tell_nothing(admin: Client) -> None:
    strict = Client(raise_request_exception=False, enforce_csrf_checks=True)
    strict.cookies = admin.cookies
    add, changes = reverse("admin:te_reflectionrow_add"), reverse("admin:te_reflectionrow_changelist")
    form = {"id": "r-1", "user_id": "ana", "session_id": "s", "input": CANARY, "output": CANARY, "notes": CANARY,
            "tags": f'["{CANARY}"]', "created_at": "2024-01-01T00:00:00Z"}  # fmt: skip
    assert admin.post(add, form).status_code == 302
    page = reverse("admin:te_reflectionrow_change", args=["r-1"])
    assert admin.post(page, form | {"input": CANARY * 2}).status_code == 302
    refused = [
        strict.post(add, form),
        admin.get(f"{changes}?input__contains={CANARY}"),
        admin.get(f"/admin/te/{CANARY}/"),
        admin.get(reverse("admin:te_reflectionrow_change", args=[f"{CANARY}-id"])),
        admin.post(reverse("admin:login"), {"username": "root", "password": CANARY}),
        Client().post(reverse("admin:login"), {"username": "root", "password": f"{CANARY}-password\x00"}),
        Client().post(reverse("admin:login"), {"username": CANARY, "password": CANARY}),
    ]
    assert [answer.status_code for answer in refused][:2] == [403, 400]
    assert [answer.content for answer in refused[:2] if CANARY in answer.content.decode()] == []
    delete = reverse("admin:te_reflectionrow_delete", args=["r-1"])
    assert admin.post(delete, {"post": "yes"}).status_code == 302
    entries = list(LogEntry.objects.values("object_id", "object_repr", "change_message"))
    assert len(entries) == 3
    assert CANARY not in str(entries)


def test_what_a_token_is_shows_nothing_of_its_secret(caplog: pytest.LogCaptureFixture) -> None:
    out, err = StringIO(), StringIO()
    call_command("create_orb_token", "--name", "x", "--scope", "admin", "--every-user", stdout=out, stderr=err)
    secret = out.getvalue().strip().split("_", 2)[2]
    caller = Caller(f"orb_00000000_{secret}")
    caller.get("/metrics")
    Caller(out.getvalue().strip()).get("/metrics")
    assert secret not in err.getvalue() + caplog.text + "".join(map(JSONLines().format, caplog.records))
    assert secret not in repr(stores) + repr(make_token("read"))


def test_records_and_what_is_wrong_with_them_show_nothing() -> None:
    reflection = ReflectionFactory(id="r-1", input=CANARY, output=CANARY, tags=(CANARY,), notes=CANARY)
    profile = ProfileFactory(preferences=(CANARY,), constraints=(ConstraintFactory(description=CANARY),))
    wrong = read(
        Reflection, {"id": "r-1", "input": CANARY, "output": {"a": CANARY}, "tags": CANARY, "createdAt": CANARY}
    )
    assert wrong.findings
    shown = [repr(reflection), str(profile), f"{profile.constraints}", repr([reflection]), str(wrong.findings)]
    for store in (stores.open_sql_store(TE), stores.open_store(TE)):
        store.put([reflection])
        shown += [repr(store), str(store)]
        try:
            store.put([ReflectionFactory(id="r-1", user_id=reflection.user_id, input=CANARY)], free=True)
        except errors.OrbError as problem:
            shown += [str(problem), repr(problem), "".join(traceback.format_exception(problem))]
    row = ReflectionRow.objects.get()
    shown += [repr(row), str(row), repr(row.reading())]
    assert [text for text in shown if CANARY in text] == []
    assert "r-1" in repr(reflection)
