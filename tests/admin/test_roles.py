"""Who may do what: two groups that are ready, a permission for each operation, and 404 for what is none of one's own."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db.models.signals import post_migrate
from django.test import Client
from django.urls import reverse

from orbsite.admin.base.permissions import needs_confirmation
from orbsite.models.api_tokens import Token, issue
from orbsite.models.audit_log import Event
from orbsite.models.jobs import OPERATIONS, Job
from orbsite.models.ledger import Change, Reject, Run
from orbsite.models.retention import PolicyRun, RetentionPolicy
from orbsite.operations.jobs import catalog
from orbsite.storage.clock import utc_now
from tests.admin.people import staff_client

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_files(settings: Any, tmp_path: Any) -> None:
    settings.ORB_DATA_DIR = tmp_path / ".orb-data"


def _permissions(name: str) -> set[str]:
    return {
        f"{one.content_type.app_label}.{one.codename}"
        for one in Group.objects.get(name=name).permissions.select_related("content_type")
    }


def _migrated() -> None:
    config = apps.get_app_config("orbsite")
    post_migrate.send(config, app_config=config, verbosity=0, interactive=False, using="default", plan=[], apps=apps)


def test_an_operator_may_start_everything_and_hand_out_nothing() -> None:
    operator = _permissions("operator")
    assert {f"orbsite.start_{name}" for name in OPERATIONS} <= operator
    assert {"luna.change_profilerow", "te.delete_reflectionrow", "orbsite.change_retentionpolicy"} <= operator
    assert {"orbsite.view_event", "orbsite.view_token"} <= operator
    assert not {one for one in operator if one.startswith(("auth.", "sessions.", "otp_totp.", "axes."))}
    assert "orbsite.add_token" not in operator
    assert _permissions("viewer") < operator


def test_a_viewer_may_look_and_nothing_else() -> None:
    viewer = _permissions("viewer")
    assert {"te.view_reflectionrow", "orbsite.view_job", "orbsite.view_run"} <= viewer
    assert {one.split(".")[1].split("_")[0] for one in viewer} == {"view"}
    assert not {"orbsite.view_event", "orbsite.view_token"} & viewer


def test_each_migration_makes_the_groups_what_they_are() -> None:
    before, theirs = _permissions("viewer"), Group.objects.create(name="theirs")
    viewer = Group.objects.get(name="viewer")
    viewer.permissions.add(Permission.objects.get(codename="start_erase"))
    viewer.permissions.remove(Permission.objects.get(codename="view_job"))
    Group.objects.get(name="operator").delete()
    theirs.permissions.add(Permission.objects.get(codename="start_erase"))
    _migrated()
    assert _permissions("viewer") == before
    assert "orbsite.start_erase" in _permissions("operator")
    assert _permissions("theirs") == {"orbsite.start_erase"}


@pytest.mark.django_db(transaction=True)
def test_the_groups_are_there_after_a_flush() -> None:
    call_command("flush", interactive=False, verbosity=0)
    assert "te.view_reflectionrow" in _permissions("viewer")
    assert "te.view_reflectionrow" in _permissions("operator")


def _list(name: str) -> str:
    return reverse(f"admin:{name}_changelist")


@pytest.mark.parametrize("model", ["auth_user", "auth_group", "axes_accessattempt", "orbsite_event", "orbsite_token"])
def test_what_a_viewer_may_not_see_is_not_there(model: str) -> None:
    viewer = staff_client("vera", group="viewer")
    for place in (
        _list(model),
        reverse(f"admin:{model}_change", args=["1"]),
        reverse(f"admin:{model}_delete", args=["1"]),
    ):
        for answer in (viewer.get(place), viewer.post(place)):
            assert answer.status_code == 404, place


def test_who_may_see_nothing_finds_no_list_and_no_names_on_the_first_page() -> None:
    nobody = staff_client("nora")
    page = nobody.get(reverse("admin:index"))
    assert page.status_code == 200
    assert "Reflections" not in page.content.decode()
    assert [nobody.get(_list(name)).status_code for name in ("te_reflectionrow", "orbsite_job")] == [404, 404]
    assert nobody.get(reverse("admin:app_list", args=["te"])).status_code == 404


def test_rows_that_may_be_seen_and_not_changed_are_refused_and_not_hidden() -> None:
    viewer = staff_client("vera", group="viewer")
    policy = RetentionPolicy.objects.create(name="p", domain="te", rules={"keep_last": 1})
    place = reverse("admin:orbsite_retentionpolicy_change", args=[policy.pk])
    assert viewer.get(place).status_code == 200
    assert viewer.post(place, {"name": "q"}).status_code == 403
    assert viewer.get(reverse("admin:orbsite_retentionpolicy_add")).status_code == 403


def test_what_can_be_started_is_what_one_has_a_permission_for() -> None:
    client = staff_client("otto", "orbsite.start_verify", "orbsite.view_job")
    assert _offered(client) == {"verify"}
    assert client.post(reverse("admin:operation", args=["rollback"]), {"run": 1}).status_code == 404
    assert not Job.objects.exists()
    assert client.post(reverse("admin:operation", args=["verify"]), {"only": ["te"]}).status_code == 302
    assert Job.objects.get().actor == "otto"
    assert _offered(staff_client("vera", group="viewer")) == set()
    assert _offered(staff_client("olga", group="operator")) == set(catalog.OPERATIONS)


def _offered(client: Client) -> set[str]:
    groups = client.get(reverse("admin:operations")).context["groups"]
    return {one["name"] for _, operations in groups for one in operations}


@pytest.mark.parametrize(("action", "told"), [("cancel", "will stop"), ("start_again", "is queued")])
def test_jobs_of_others_operations_are_left_alone(action: str, told: str) -> None:
    state = "queued" if action == "cancel" else "done"
    jobs = [
        Job.objects.create(operation=name, state=state, created_at=utc_now(), arguments=arguments)
        for name, arguments in (("validate", {}), ("rollback", {"run": 1}))
    ]
    client = staff_client("otto", "orbsite.start_validate", "orbsite.view_job")
    form = {"action": action, "_selected_action": [job.pk for job in jobs]}
    text = client.post(_list("orbsite_job"), form, follow=True).content.decode()
    assert told in text
    assert "1 jobs were not changed" in text
    assert Job.objects.filter(operation="rollback").count() == 1
    assert Job.objects.get(operation="rollback").state == state


def test_policies_are_run_by_those_who_may_start_maintenance(django_capture_on_commit_callbacks: Any) -> None:
    policy = RetentionPolicy.objects.create(
        name="p",
        domain="te",
        rules={"keep_last": 1},
        next_due="2090-01-01T00:00:00Z",
        last_started="2080-01-01T00:00:00Z",
    )
    editor = staff_client("edda", "orbsite.view_retentionpolicy", "orbsite.change_retentionpolicy")
    runner = staff_client("rudi", "orbsite.view_retentionpolicy", "orbsite.start_maintain")
    for client, ran in ((editor, 0), (runner, 1)):
        with django_capture_on_commit_callbacks(execute=True):
            client.post(_list("orbsite_retentionpolicy"), {"action": "run_next", "_selected_action": [policy.pk]})
        assert PolicyRun.objects.count() == ran
    for client, jobs in (
        (editor, 0),
        (runner, 0),
        (staff_client("pia", "orbsite.view_retentionpolicy", "orbsite.start_preview"), 1),
    ):
        client.post(_list("orbsite_retentionpolicy"), {"action": "preview", "_selected_action": [policy.pk]})
        assert Job.objects.filter(operation="preview").count() == jobs


def test_an_operator_revokes_tokens_and_makes_none() -> None:
    token = Token(name="phone", scopes=["read"], every_user=True)
    issue(token, utc_now())
    operator = staff_client("olga", group="operator")
    assert operator.get(reverse("admin:orbsite_token_add")).status_code == 403
    page = reverse("admin:orbsite_token_change", args=[token.pk])
    assert operator.post(page, {"name": "mine", "scopes": '["admin"]'}).status_code == 403
    operator.post(_list("orbsite_token"), {"action": "revoke", "_selected_action": [token.pk]})
    token.refresh_from_db()
    assert token.revoked_at is not None
    event = Event.objects.get(act="tokens revoked")
    assert (event.actor, event.subject, event.facts) == ("olga", token.prefix, {"tokens": 1})


@pytest.mark.parametrize("act", ["made", "changed", "removed"])
def test_who_makes_changes_or_removes_a_policy_is_noted(admin_client: Client, act: str) -> None:
    form = {"name": "p", "domain": "te", "store": "sql", "keep_last": "1", "rules": "{}", "enabled": "on"}
    form |= {"next_due_0": "", "next_due_1": "", "repeat": "interval"}
    form |= {"every_number": "1", "every_unit": "days"}
    admin_client.post(reverse("admin:orbsite_retentionpolicy_add"), form)
    policy = RetentionPolicy.objects.get()
    admin_client.post(
        reverse("admin:orbsite_retentionpolicy_change", args=[policy.pk]),
        form | {"every_number": "61", "rules": '{"keep_last": 1}'},
    )
    admin_client.post(reverse("admin:orbsite_retentionpolicy_delete", args=[policy.pk]), {"post": "yes"})
    event = Event.objects.get(act=f"policy {act}")
    assert (event.actor, event.subject, event.address) == ("admin", str(policy.pk), "127.0.0.1")
    assert act == "made" or event.facts == {"changed": {"fields": ["every"]}, "removed": {}}[act]


@pytest.mark.parametrize("operation", ["compact", "maintain", "verify"])
def test_who_starts_what_changes_much_is_noted_with_its_arguments(operation: str) -> None:
    earlier = Job.objects.create(operation=operation, arguments={"only": ["te"]}, state="done", created_at=utc_now())
    staff_client("olga", group="operator").post(reverse("admin:job_again", args=[earlier.pk]))
    job = Job.objects.exclude(pk=earlier.pk).get()
    noted = list(Event.objects.filter(act=operation).values_list("actor", "subject", "facts", "address"))
    wanted = [("olga", str(job.pk), {"arguments": {"only": ["te"]}}, "127.0.0.1")]
    assert noted == ([] if operation == "verify" else wanted)


def test_only_what_takes_everything_or_somebody_for_ever_asks_again() -> None:
    asked = [name for name in OPERATIONS if needs_confirmation(name, {})]
    assert asked == ["export", "erase"]
    assert not needs_confirmation("export", {"user": "ana"})


@pytest.mark.parametrize(("kind", "seen"), [("reflections", True), ("profiles", False), ("unheard of", False)])
def test_the_ledger_shows_texts_to_those_alone_who_may_see_the_rows(kind: str, seen: bool) -> None:
    run = Run.objects.create(operation="migrate", state="complete", started_at=utc_now())
    domain = "luna" if kind == "profiles" else "te"
    of_both = {"run": run, "domain": domain, "kind": kind}
    change = Change.objects.create(**of_both, key='["x"]', before="a canary of old", after="0" * 64)
    reject = Reject.objects.create(**of_both, path="$.x", reason="no", original="a canary of old")
    client = staff_client("olga", "orbsite.view_change", "orbsite.view_reject", "te.view_reflectionrow")
    for name, row in (("change", change), ("reject", reject)):
        page = client.get(reverse(f"admin:orbsite_{name}_change", args=[row.pk]))
        assert page.status_code == 200
        assert (b"a canary of old" in page.content) is seen
