"""What can be started from a page: who may, with which arguments, and what then runs."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from luna.models import ProfileRow
from orbsite.models.audit_log import Event
from orbsite.models.jobs import OPERATIONS, Job
from orbsite.models.ledger import Reject, Run, RunState
from orbsite.models.retention import RetentionPolicy
from orbsite.operations.backup import uploads
from orbsite.operations.jobs import catalog
from orbsite.operations.jobs.parameters import acting, can_look, is_look, looking
from orbsite.operations.monitoring.console_pages import address_of
from orbsite.storage.errors import OrbError, SaveFailed
from te.models import ReflectionRow
from tests.admin.starting import confirm, forget, post, staff_client, words

pytestmark = pytest.mark.django_db
NEW = "admin:operation"
BOTH = {"only": ["luna", "te"]}


@pytest.fixture
def files(files: Path, settings: Any, tmp_path: Path) -> Path:
    settings.ORB_DATA_DIR, settings.ORB_BACKUP_DIR = files, tmp_path / "backups"
    settings.ORB_PERSISTENCE = "sql"
    return files


@pytest.fixture
def run(django_capture_on_commit_callbacks: Any) -> Any:
    """Post a form, have a worker do at once what it starts, and return the job."""

    def act(client: Client, name: str, form: dict[str, Any], *arguments: Any) -> Job:
        with django_capture_on_commit_callbacks(execute=True):
            response = post(client, name, form, *arguments)
        assert response.status_code == 302, words(response)
        job = Job.objects.order_by("-pk").first()
        assert job is not None
        assert response["Location"] == reverse("admin:job", args=[job.pk])
        return job

    return act


def test_the_list_offers_what_one_may_start_and_nothing_else() -> None:
    client = staff_client("start_migrate", "start_check")
    shown = words(client.get(reverse("admin:operations")))
    assert "Moves the files' records into SQL." in shown
    assert "Looks for damage in the files." in shown
    assert "Undoes one run." not in shown
    assert "Jobs" not in shown


def test_every_operation_has_a_place_in_the_list_and_a_form(admin_client: Client, files: Path) -> None:
    page = admin_client.get(reverse("admin:operations")).content.decode()
    confirm(admin_client)
    for name, kind in catalog.OPERATIONS.items():
        assert f'href="{reverse(NEW, args=[name])}"' in page
        form = admin_client.get(reverse(NEW, args=[name]))
        assert form.status_code == 200
        said = [field.encode_name for field in msgspec.structs.fields(kind)]
        asked = form.context["form"].fields
        assert set(said) - {"dry_run", "apply"} == set(asked) - {"file"}, name
        assert all(field.label for field in asked.values()), name


def test_there_is_a_permission_for_each_operation_that_can_be_asked_for() -> None:
    assert set(catalog.OPERATIONS) <= set(OPERATIONS)


@pytest.mark.parametrize("name", [*catalog.OPERATIONS, "no-such-thing"])
def test_a_form_is_not_there_for_those_who_may_not_start_it(name: str) -> None:
    others = [f"start_{one}" for one in catalog.OPERATIONS if one != name]
    client = staff_client("view_job", *others)
    confirm(client)
    assert client.get(reverse(NEW, args=[name])).status_code == 404
    assert post(client, "operation", BOTH, name).status_code == 404
    assert not Job.objects.exists()


def test_nothing_is_there_for_those_who_may_do_nothing(client: Client) -> None:
    nobody = staff_client()
    assert nobody.get(reverse("admin:operations")).status_code == 404
    assert client.get(reverse("admin:operations")).status_code == 302


def test_a_migration_is_previewed_then_done_then_undone(admin_client: Client, files: Path, run: Any) -> None:
    job = run(admin_client, "operation", BOTH | {"backup": "on"}, "migrate")
    assert (job.state, job.arguments) == ("done", BOTH | {"dry_run": True})
    assert ReflectionRow.objects.count() == 0
    page = admin_client.get(reverse("admin:job", args=[job.pk]))
    assert "Nothing was written." in words(page)
    assert "Reflections: would be added (the first 20)" in words(page)
    assert reverse("admin:job_apply", args=[job.pk]) in page.content.decode()

    done = run(admin_client, "job_apply", {}, job.pk)
    assert (done.state, done.result["ok"], done.actor) == ("done", True, "admin")
    assert ReflectionRow.objects.count() == 142
    assert Path(done.result["backup"]).is_dir()
    assert reverse("admin:job_apply", args=[done.pk]) not in admin_client.get(
        reverse("admin:job", args=[done.pk])
    ).content.decode()  # fmt: skip

    number = done.result["run"]
    look = run(admin_client, "operation", BOTH | {"run": number}, "rollback")
    assert (look.state, look.arguments["dry_run"]) == ("done", True)
    assert ReflectionRow.objects.count() == 142
    undone = run(admin_client, "job_apply", {}, look.pk)
    assert undone.state == "done"
    assert ReflectionRow.objects.count() == ProfileRow.objects.count() == 0
    assert Run.objects.get(pk=number).state == RunState.ROLLED_BACK


@pytest.mark.parametrize("name", ["verify", "validate", "check", "backup", "maintain"])
def test_what_has_no_preview_is_done_at_once(admin_client: Client, files: Path, run: Any, name: str) -> None:
    job = run(admin_client, "operation", {"only": ["te"]}, name)
    assert (job.state, job.error) == ("done", "")
    assert job.arguments.get("only", ["te"]) == ["te"]


@pytest.mark.parametrize("name", ["compact", "repair", "cleanup", "sanitize", "upgrade-files", "upgrade-rows"])
def test_what_removes_or_mends_tells_first_and_then_does_it(
    admin_client: Client, files: Path, run: Any, name: str
) -> None:
    form = BOTH | ({"grace_days": "7"} if name == "cleanup" else {})
    job = run(admin_client, "operation", form, name)
    kind = catalog.OPERATIONS[name]
    assert (job.state, is_look(kind, job.arguments)) == ("done", True)
    done = run(admin_client, "job_apply", {}, job.pk)
    assert (done.state, is_look(kind, done.arguments)) == ("done", False)


def test_a_policy_is_previewed(admin_client: Client, files: Path, run: Any) -> None:
    run(admin_client, "job_apply", {}, run(admin_client, "operation", BOTH, "migrate").pk)
    policy = RetentionPolicy.objects.create(name="few", domain="te", rules={"keep_last": 1})
    job = run(admin_client, "operation", {"only": ["te"], "policy": policy.pk}, "preview")
    shown = words(admin_client.get(reverse("admin:job", args=[job.pk])))
    assert "would go: no rule keeps it" in shown
    assert ReflectionRow.objects.count() == 142


def test_the_very_same_work_is_not_queued_twice(admin_client: Client, files: Path) -> None:
    first, second = (post(admin_client, "operation", BOTH, "migrate") for _ in range(2))
    assert first["Location"] == second["Location"]
    assert Job.objects.count() == 1
    assert post(admin_client, "operation", {"only": ["te"]}, "migrate")["Location"] != first["Location"]


@pytest.mark.parametrize(
    ("name", "form", "told"),
    [
        ("migrate", {}, "Only"),
        ("migrate", {"only": ["mars"]}, "Select a valid choice"),
        ("rollback", BOTH, "This field is required"),
        ("rollback", BOTH | {"run": "99"}, "Select a valid choice"),
        ("preview", BOTH | {"policy": "99"}, "Select a valid choice"),
        ("import", BOTH, "Upload a database"),
        ("import", BOTH | {"upload": "../../etc/passwd"}, "Select a valid choice"),
        ("cleanup", BOTH | {"grace_days": "-1"}, "greater than or equal to 0"),
        ("backup", BOTH | {"label": "a\0b"}, "NUL"),
    ],
)
def test_what_is_wrong_is_told_on_the_form(
    admin_client: Client, files: Path, name: str, form: dict[str, Any], told: str
) -> None:
    response = post(admin_client, "operation", form, name)
    assert response.status_code == 200
    errors = str(response.context["form"].errors)
    assert told in errors or (told == "Only" and "This field is required" in errors)
    assert not Job.objects.exists()


def test_a_form_can_be_filled_in_by_its_address(admin_client: Client, files: Path) -> None:
    address = address_of("migrate", {"only": ["te"], "only_rejected": True, "backup": False})
    page = admin_client.get(address).content.decode()
    ticked = set(
        re.findall(
            r'<input [^>]*value="([a-z]+)"[^>]*name="only"[^>]* checked|name="only" value="([a-z]+)"[^>]* checked', page
        )
    )
    assert ticked == {("", "te")}
    form = admin_client.get(address).context["form"]
    assert (form.initial["only_rejected"], form.initial["backup"]) == (True, False)


def test_an_erasure_asks_for_the_password_first(admin_client: Client, files: Path, run: Any) -> None:
    run(admin_client, "job_apply", {}, run(admin_client, "operation", BOTH, "migrate").pk)
    user = ReflectionRow.objects.values_list("user_id", flat=True)[0]
    there = ReflectionRow.objects.exclude(user_id=user).count()
    address = address_of("erase", {"user": user})
    forget(admin_client)
    assert admin_client.get(address)["Location"].startswith(reverse("admin:console_again"))
    assert post(admin_client, "operation", BOTH | {"user": user}, "erase")["Location"].startswith(
        reverse("admin:console_again")
    )
    assert not Job.objects.filter(operation="erase").exists()
    confirm(admin_client)
    assert "This cannot be undone." in words(admin_client.get(address))
    job = run(admin_client, "operation", BOTH | {"user": user}, "erase")
    assert ReflectionRow.objects.count() == there
    assert not ProfileRow.objects.filter(user_id=user).exists()
    shown = words(admin_client.get(reverse("admin:job", args=[job.pk])))
    assert "remains" in shown
    assert "backups" in shown
    assert Event.objects.filter(act="erase", actor="admin", subject=str(job.pk)).count() == 1


def test_an_export_of_everything_asks_for_the_password_and_one_of_somebody_does_not(
    admin_client: Client, files: Path, run: Any
) -> None:
    forget(admin_client)
    response = post(admin_client, "operation", BOTH, "export")
    assert response["Location"].startswith(reverse("admin:console_again"))
    assert not Job.objects.exists()
    assert run(admin_client, "operation", BOTH | {"user": "ana"}, "export").state == "done"
    confirm(admin_client)
    assert run(admin_client, "operation", BOTH, "export").state == "done"


def test_a_database_is_uploaded_kept_privately_and_imported(
    admin_client: Client, files: Path, run: Any, settings: Any
) -> None:
    data = (Path(__file__).parents[2] / "data" / "orb.db").read_bytes()
    job = run(admin_client, "operation", BOTH | {"file": SimpleUploadedFile("../../x; rm -rf", data)}, "import")
    assert (job.state, job.error) == ("done", "")
    assert ReflectionRow.objects.count() == 0
    kept = settings.ORB_BACKUP_DIR / "uploads" / job.arguments["upload"]
    assert kept.read_bytes() == data
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    done = run(admin_client, "job_apply", {}, job.pk)
    assert done.result["domains"]["te"]["new"] == ReflectionRow.objects.count() > 0
    again = run(admin_client, "operation", BOTH | {"upload": kept.name}, "import")
    assert again.result["domains"]["te"]["unchanged"] == ReflectionRow.objects.count()


@pytest.mark.parametrize("data", [b"no database", b"SQLite format 3\0", b"SQLite format 3\0" + b"\0" * 4096])
def test_an_upload_that_is_no_such_database_fails_and_says_so(
    admin_client: Client, files: Path, run: Any, data: bytes
) -> None:
    job = run(admin_client, "operation", BOTH | {"file": SimpleUploadedFile("orb.db", data)}, "import")
    assert "unexpected" not in job.error
    assert job.state == "failed" or job.result["domains"]["te"]["read"] == 0


def test_uploads_are_left_over_after_a_while_and_others_files_are_not(tmp_path: Path) -> None:
    then = datetime(2026, 3, 1, tzinfo=UTC)
    names = [uploads.keep(tmp_path, [b"a", b"b"], now=then) for _ in range(2)]
    assert names == ["upload-20260301T000000Z.db", "upload-20260301T000000Z-2.db"]
    place = tmp_path / "uploads"
    (place / "orb.db").write_bytes(b"theirs")
    for path in place.iterdir():
        os.utime(path, (then.timestamp(), then.timestamp()))
    grace = timedelta(days=7)
    assert list(uploads.expired(tmp_path, then + grace, grace)) == []
    found = list(uploads.expired(tmp_path, then + grace * 2, grace))
    assert sorted(path.name for path, _, _ in found) == sorted(names)
    (place / names[0]).write_bytes(b"changed")
    for path, _, remove in found:
        if path.name == names[0]:
            with pytest.raises(OrbError, match="changed meanwhile"):
                remove()
        else:
            remove()
    assert sorted(path.name for path in place.iterdir()) == ["orb.db", names[0]]


@pytest.mark.parametrize("backups", ["on", ""])
def test_clean_up_takes_uploads_with_the_backups(
    admin_client: Client, files: Path, run: Any, settings: Any, backups: str
) -> None:
    name = uploads.keep(settings.ORB_BACKUP_DIR, [b"x"], now=datetime(2026, 3, 1, tzinfo=UTC))
    path = settings.ORB_BACKUP_DIR / "uploads" / name
    os.utime(path, (0, 0))
    form = BOTH | {"grace_days": "1"} | ({"backups": backups} if backups else {})
    job = run(admin_client, "operation", form, "cleanup")
    assert path.exists()
    done = run(admin_client, "job_apply", {}, job.pk)
    assert (done.state, path.exists()) == ("done", not backups)


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Any:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(SaveFailed, match="could not be saved"):
        uploads.keep(tmp_path, broken(), now=datetime(2026, 3, 1, tzinfo=UTC))
    assert list((tmp_path / "uploads").iterdir()) == []


def test_an_erasure_forgets_what_previews_have_shown(admin_client: Client, files: Path, run: Any) -> None:
    job = run(admin_client, "operation", BOTH, "migrate")
    assert job.samples
    run(admin_client, "operation", BOTH | {"user": "nobody"}, "erase")
    job.refresh_from_db()
    assert job.samples is None


def test_an_upload_that_is_too_large_is_not_even_read(admin_client: Client, files: Path, settings: Any) -> None:
    settings.ORB_MAX_UPLOAD_BYTES = 1000
    file = SimpleUploadedFile("orb.db", b"x" * 2000)
    response = admin_client.post(reverse(NEW, args=["import"]), BOTH | {"file": file}, follow=True)
    assert "larger than 1,000 bytes" in response.content.decode()
    assert not Job.objects.exists()
    assert not (settings.ORB_BACKUP_DIR / "uploads").exists()


def test_forms_are_protected_against_forgery(files: Path) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff_client("start_migrate").get(reverse("admin:operations")).wsgi_request.user)
    assert post(client, "operation", BOTH, "migrate").status_code == 403
    assert not Job.objects.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b", "link", "pipe", "missing", "x" * 300])
def test_no_upload_is_taken_from_elsewhere(tmp_path: Path, name: str) -> None:
    place = tmp_path / "uploads"
    place.mkdir(mode=0o700)
    (place / "link").symlink_to("/etc/passwd")
    os.mkfifo(place / "pipe")
    assert uploads.names(tmp_path) == []
    with pytest.raises(OrbError, match="no upload of that name"):
        uploads.path_of(tmp_path, name)


def test_arguments_turn_from_a_look_into_the_act_and_back() -> None:
    for kind in catalog.OPERATIONS.values():
        look, act = looking(kind, {"only": ["te"]}), acting(kind, {"only": ["te"]})
        assert is_look(kind, look) == can_look(kind)
        assert not is_look(kind, act)
        assert acting(kind, look) == act
        assert looking(kind, act) == look


def test_lists_lead_to_operations_without_any_row(admin_client: Client) -> None:
    for page, told in [("run", "Migrate"), ("reject", "Retry rejected records"), ("job", "Operations")]:
        body = admin_client.get(reverse(f"admin:orbsite_{page}_changelist")).content.decode()
        assert f">{told}</a>" in body
    body = staff_client("view_run").get(reverse("admin:orbsite_run_changelist")).content.decode()
    assert ">Migrate</a>" not in body


def test_rows_lead_to_what_can_be_done_with_them(admin_client: Client) -> None:
    begun = datetime(2026, 3, 1, tzinfo=UTC)
    run = Run.objects.create(operation="migrate", state="complete", started_at=begun)
    undone = Run.objects.create(operation="migrate", state="rolled back", started_at=begun)
    verified = Run.objects.create(operation="verify", state="complete", started_at=begun)
    policy = RetentionPolicy.objects.create(name="few", domain="te", rules={"keep_last": 1})
    job = Job.objects.create(operation="validate", created_at=begun)
    reject = Reject.objects.create(run=run, domain="te", kind="reflections", path="$", reason="r", original="{}")

    def shown(page: str, row: Any) -> str:
        return unescape(admin_client.get(reverse(f"admin:orbsite_{page}_change", args=[row.pk])).content.decode())

    assert address_of("rollback", {"run": run.pk}) in shown("run", run)
    assert all("/rollback/" not in shown("run", other) for other in (undone, verified))
    assert address_of("preview", {"policy": policy.pk}) in shown("retentionpolicy", policy)
    assert reverse("admin:job", args=[job.pk]) in shown("job", job)
    again = address_of("migrate", {"only_rejected": True, "only": ["te"]})
    assert again in shown("reject", reject)
    assert admin_client.get(again).context["form"].initial["only_rejected"] is True


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/te/reflectionrow/add/", "/admin/console/operations/import/"])
def test_nobody_fills_the_disk_before_saying_who_it_is(path: str, settings: Any) -> None:
    settings.ORB_API_MAX_BYTES = 1000
    told = [Client().post(path, b"x" * size, content_type="text/plain").status_code for size in (1000, 1001)]
    assert told[0] in (200, 302, 403)
    assert told[1] == 413
