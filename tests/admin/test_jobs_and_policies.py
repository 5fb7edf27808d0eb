"""What runs on its own, in the admin: policies are edited and run, jobs are started, cancelled and started again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from orbsite.admin.registrations.retention import PolicyForm
from orbsite.models.jobs import Job
from orbsite.models.retention import PolicyRun, RetentionPolicy

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_files(settings: Any, tmp_path: Path) -> None:
    settings.ORB_DATA_DIR = tmp_path / ".orb-data"


FORM = {
    "name": "keep 90 days",
    "domain": "te",
    "store": "sql",
    "rules": '{"max_age_days": 90}',
    "enabled": "on",
    "repeat": "interval",
    "every_number": "1",
    "every_unit": "hours",
    "next_due_0": "",
    "next_due_1": "",
}


def _post(client: Client, page: str, form: dict[str, Any], *arguments: Any) -> Any:
    return client.post(reverse(f"admin:orbsite_{page}", args=arguments), form)


def _act(client: Client, page: str, action: str, *rows: Any) -> str:
    form = {"action": action, "_selected_action": [row.pk for row in rows]}
    response = client.post(reverse(f"admin:orbsite_{page}_changelist"), form, follow=True)
    return response.content.decode()


def test_a_policy_is_made_and_changed(admin_client: Client) -> None:
    assert _post(admin_client, "retentionpolicy_add", FORM).status_code == 302
    policy = RetentionPolicy.objects.get()
    assert (policy.rules, policy.next_due, policy.every) == ({"max_age_days": 90}, None, 3600)
    changed = FORM | {"max_age_days": "", "keep_last": "5", "every_unit": "minutes"}
    assert _post(admin_client, "retentionpolicy_change", changed, policy.pk).status_code == 302
    policy.refresh_from_db()
    assert (policy.rules, policy.every) == ({"keep_last": 5}, 60)


def test_a_change_leaves_alone_what_maintenance_writes_meanwhile(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = RetentionPolicy.objects.create(name="p", domain="te", rules={"keep_last": 1})
    clean = PolicyForm.clean

    def and_claim(form: Any) -> Any:
        RetentionPolicy.objects.update(claimed_by="a host")
        return clean(form)

    monkeypatch.setattr(PolicyForm, "clean", and_claim)
    form = FORM | {"rules": '{"keep_last": 1}', "max_age_days": "90"}
    assert _post(admin_client, "retentionpolicy_change", form, policy.pk).status_code == 302
    policy.refresh_from_db()
    assert (policy.name, policy.rules, policy.claimed_by) == ("keep 90 days", {"max_age_days": 90}, "a host")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("rules", "{}", "without any rule"),
        ("rules", '{"max_age_days": -1}', "max_age_days is -1"),
        ("rules", '{"max_days": 1}', "max_days"),
        ("rules", '{"keep_last": "5"}', "keep_last"),
        ("rules", "[", "not valid JSON"),
        ("rules", "", "without any rule"),
        ("domain", "mars", "Select a valid choice"),
        ("store", "memory", "Select a valid choice"),
        ("every_number", "0", "greater than or equal to 1"),
        ("name", "", "required"),
    ],
)
def test_what_is_wrong_with_a_policy_stands_at_its_field(
    admin_client: Client, field: str, value: str, told: str
) -> None:
    response = _post(admin_client, "retentionpolicy_add", FORM | {field: value})
    assert response.status_code == 200
    assert told in " ".join(response.context["adminform"].form.errors[field])
    assert not RetentionPolicy.objects.exists()


def test_a_policy_is_run_and_previewed_by_a_worker(
    admin_client: Client, django_capture_on_commit_callbacks: Any
) -> None:
    _post(admin_client, "retentionpolicy_add", FORM)
    policy = RetentionPolicy.objects.get()
    RetentionPolicy.objects.update(next_due="2090-01-01T00:00:00Z", last_started="2080-01-01T00:00:00Z")
    with django_capture_on_commit_callbacks(execute=True):
        assert "The preview removes nothing. Job" in _act(admin_client, "retentionpolicy", "preview", policy)
    assert (Job.objects.get().operation, Job.objects.get().state) == ("preview", "done")
    with django_capture_on_commit_callbacks(execute=True):
        assert "1 policies are due now" in _act(admin_client, "retentionpolicy", "run_next", policy)
    assert PolicyRun.objects.get(policy=policy).state == "done"
    assert "done" in admin_client.get(reverse("admin:orbsite_policyrun_changelist")).content.decode()
    page = admin_client.get(reverse("admin:orbsite_retentionpolicy_change", args=[policy.pk])).content.decode()
    assert "&quot;removed&quot;: 0" in page


def test_a_job_is_started_cancelled_and_started_again(
    admin_client: Client, django_capture_on_commit_callbacks: Any
) -> None:
    assert admin_client.post(reverse("admin:operation", args=["maintain"]), {"only": ["te"]}).status_code == 302
    job = Job.objects.get()
    assert (job.state, job.actor) == ("queued", "admin")
    assert "will stop" in _act(admin_client, "job", "cancel", job)
    with django_capture_on_commit_callbacks(execute=True):
        assert "is queued" in _act(admin_client, "job", "start_again", job)
    assert sorted(Job.objects.values_list("state", flat=True)) == ["cancelled", "done"]
    done = Job.objects.get(state="done")
    assert "is done already" in _act(admin_client, "job", "cancel", done)
    assert (
        "&quot;ok&quot;: true" in admin_client.get(reverse("admin:orbsite_job_change", args=[done.pk])).content.decode()
    )


def test_jobs_are_for_those_who_may_start_them(client: Client) -> None:
    reader = User.objects.create_user("reader", password="x", is_staff=True)
    reader.user_permissions.add(*Permission.objects.filter(codename__in=["view_job", "view_retentionpolicy"]))
    client.force_login(reader)
    job = Job.objects.create(operation="validate", created_at="2026-01-01T00:00:00Z")
    policy = RetentionPolicy.objects.create(name="p", domain="te", rules={"keep_last": 1})
    assert client.get(reverse("admin:orbsite_job_changelist")).status_code == 200
    assert client.get(reverse("admin:orbsite_job_add")).status_code == 403
    _act(client, "job", "cancel", job)
    _act(client, "retentionpolicy", "run_next", policy)
    assert Job.objects.get().state == "queued"
