"""What is started from rows that are chosen in a list."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.urls import reverse

from luna.domain import DOMAIN as LUNA
from luna.models import ProfileRow
from orbsite.models.audit_log import Event
from orbsite.models.jobs import Job
from orbsite.models.ledger import Change, Run, RunState
from orbsite.models.retention import RetentionPolicy
from orbsite.operations.jobs import jobs
from orbsite.operations.jobs.catalog import OPERATIONS
from orbsite.operations.jobs.parameters import acting
from orbsite.operations.records.delete import remove
from orbsite.operations.records.sanitize import sanitize
from orbsite.operations.retention.one_user import trim
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import ClockJumped, OrbError, TooMuch
from orbsite.storage.retention.policy import Policy
from orbsite.stores import open_sql_store
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.admin.starting import confirm, staff_client
from tests.support.factories import BEGIN, ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db
ACTIONS = {
    "start_validate": {"validate"},
    "start_sanitize": {"sanitize"},
    "start_export": {"export", "export_user"},
    "start_compact": {"compact_user"},
    "start_erase": {"erase_user"},
}


@pytest.fixture(autouse=True)
def _rows(settings: Any) -> None:
    settings.ORB_PERSISTENCE = "sql"
    open_sql_store(LUNA).put(ProfileFactory.build(user_id="ana", mode_id=mode) for mode in ("mars", "venus"))
    open_sql_store(TE).put([ReflectionFactory.build(id=f"r-{n}", user_id="ana", session_id="s") for n in range(3)])
    open_sql_store(TE).put([ReflectionFactory.build(id="b-1", user_id="bob", session_id="s")])


def act(client: Client, page: str, action: str, *rows: Any, follow: bool = False) -> Any:
    form = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(reverse(f"admin:{page}_changelist"), form, follow=follow)


def profile() -> ProfileRow:
    return ProfileRow.objects.get(mode_id="mars")


def break_one() -> ProfileRow:
    ProfileRow.objects.filter(mode_id="mars").update(preferences=["ok", 7, None])
    return profile()


@pytest.mark.parametrize("right", ACTIONS)
def test_an_action_is_offered_to_those_who_may_start_it(right: str) -> None:
    client = staff_client(right, "view_reflectionrow")
    page = client.get(reverse("admin:te_reflectionrow_changelist"))
    offered = {name for name, _ in page.context["action_form"].fields["action"].choices if name}
    assert offered == ACTIONS[right]
    others = set().union(*ACTIONS.values()) - ACTIONS[right]
    for name in others:
        act(client, "te_reflectionrow", name, *ReflectionRow.objects.all()[:1])
    assert not Job.objects.exists()


def test_retention_is_offered_for_what_it_is_for() -> None:
    page = staff_client("start_compact", "view_profilerow").get(reverse("admin:luna_profilerow_changelist"))
    assert "compact_user" not in page.content.decode()


def test_rows_are_validated_at_once(admin_client: Client) -> None:
    said = act(admin_client, "luna_profilerow", "validate", *ProfileRow.objects.all(), follow=True).content.decode()
    assert "2 of 2 selected records are valid." in said
    broken = break_one()
    said = act(admin_client, "luna_profilerow", "validate", broken, follow=True).content.decode()
    assert "0 of 1 selected records are valid." in said
    assert "$.preferences[1]" in said


def test_rows_are_sanitized_by_a_worker_in_two_steps(
    admin_client: Client, django_capture_on_commit_callbacks: Any
) -> None:
    broken = break_one()
    with django_capture_on_commit_callbacks(execute=True):
        answer = act(admin_client, "luna_profilerow", "sanitize", broken)
    look = Job.objects.get()
    assert answer["Location"] == reverse("admin:job", args=[look.pk])
    assert look.arguments == {"only": ["luna"], "kind": "profiles", "keys": ['["ana","mars"]']}
    assert (look.state, look.result["domains"]["luna"]["mended"]) == ("done", 1)
    assert any("would be mended: $.preferences[1]" in one["message"] for one in look.result["findings"])
    assert profile().preferences == ["ok", 7, None]
    done = jobs.start("sanitize", acting(OPERATIONS["sanitize"], look.arguments), now=utc_now)
    jobs.execute(done.pk, now=utc_now)
    assert profile().preferences == ["ok", "7"]
    assert profile().reading().record is not None
    change = Change.objects.get()
    assert json.loads(change.before)["columns"]["preferences"] == ["ok", 7, None]
    assert (change.run.operation, change.run.state) == ("sanitize", RunState.COMPLETE)


def test_what_is_valid_is_not_touched_and_every_change_is_listed() -> None:
    ProfileRow.objects.filter(mode_id="mars").update(extra=["no object"])
    before = ProfileRow.objects.values().get(mode_id="venus")
    report = sanitize([LUNA], now=lambda: BEGIN, kind="profiles", apply=True)
    section = report.domains["luna"]
    assert [section.total(what) for what in ("read", "valid", "mended", "rejected")] == [2, 1, 1, 0]
    assert [one.message for one in section.findings] == [
        "mended: $: the column extra does not hold an object; left out"
    ]
    assert ProfileRow.objects.values().get(mode_id="venus") == before
    assert profile().extra is None


@pytest.mark.parametrize("arguments", [{"kind": "planets"}, {"keys": ("[]",)}, {"kind": "profiles", "keys": ("ana",)}])
def test_keys_that_are_none_are_refused(arguments: Any) -> None:
    with pytest.raises(OrbError, match="kind of record|JSON list"):
        sanitize([LUNA], now=lambda: BEGIN, **arguments)


def test_all_rows_are_looked_at_page_by_page() -> None:
    open_sql_store(LUNA).put(ProfileFactory.build_batch(1100))
    report = sanitize([LUNA], now=lambda: BEGIN, kind="profiles")
    assert report.domains["luna"].total("read") == 1102
    assert not Run.objects.exists()


def test_chosen_rows_are_exported_as_a_file(admin_client: Client) -> None:
    answer = act(admin_client, "te_reflectionrow", "export", *ReflectionRow.objects.filter(user_id="ana")[:2])
    tree = json.loads(answer.content)
    assert len(tree["sessions"]["s"]) == 2
    assert tree["userSessions"] == {"ana": ["s"]}
    assert answer["Content-Disposition"] == 'attachment; filename="reflections.json"'
    event = Event.objects.get(act="export")
    assert (event.subject, event.facts) == ("te/reflections", {"records": 2})


def test_what_is_broken_is_not_exported(admin_client: Client) -> None:
    broken = break_one()
    said = act(admin_client, "luna_profilerow", "export", broken, follow=True).content.decode()
    assert "Nothing was exported, because some selected records are invalid" in said


@pytest.mark.parametrize("operation", ["export", "compact", "erase"])
def test_what_is_about_a_user_goes_to_its_form(admin_client: Client, operation: str) -> None:
    ana, bob = ReflectionRow.objects.filter(user_id="ana")[0], ReflectionRow.objects.get(user_id="bob")
    answer = act(admin_client, "te_reflectionrow", f"{operation}_user", ana)
    assert answer["Location"] == f"{reverse('admin:operation', args=[operation])}?user=ana"
    confirm(admin_client)
    assert admin_client.get(answer["Location"]).context["form"].initial["user"] == "ana"
    said = act(admin_client, "te_reflectionrow", f"{operation}_user", ana, bob, follow=True).content.decode()
    assert "Select rows of one user" in said


def test_too_many_rows_are_refused(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    open_sql_store(TE).put(ReflectionFactory.build_batch(1000, session_id="many"))
    form = {"action": "export", "_selected_action": ["r-1"], "select_across": "1"}
    said = admin_client.post(reverse("admin:te_reflectionrow_changelist"), form, follow=True).content.decode()
    assert "more than 1,000 rows are selected" in said
    assert not Event.objects.filter(act="export").exists()


def test_a_user_is_compacted_by_a_policy_and_nobody_else(admin_client: Client) -> None:
    open_sql_store(TE).put(
        [ReflectionFactory.build(id=f"o-{n}", user_id="ana", session_id="own", created_at=BEGIN) for n in range(9)]
    )
    policy = RetentionPolicy.objects.create(name="few", domain="te", rules={"keep_last": 8})
    look = _compacted(policy=policy.pk, user="ana", dry_run=True)
    assert look.result["domains"]["te"]["would_go"] == 1
    assert 'reflections ["ana","o-0"]' in [one["path"] for one in look.result["findings"]]
    assert ReflectionRow.objects.count() == 13
    done = _compacted(policy=policy.pk, user="ana")
    assert (done.state, ReflectionRow.objects.count()) == ("done", 12)
    assert not ReflectionRow.objects.filter(id="o-0").exists()
    change = Change.objects.get()
    assert (change.run_id, "no rule keeps it" in change.reason) == (done.result["run"], True)


def test_in_a_shared_session_only_the_user_s_records_go() -> None:
    store, policy = open_sql_store(TE), Policy(keep_last=1)
    old = BEGIN - timedelta(days=1)
    store.put([ReflectionFactory.build(id="b-0", user_id="bob", session_id="s", created_at=old)])
    report = trim(store, policy, "ana", now=lambda: BEGIN, force=True)
    assert report.domains["te"].total("removed") == 3
    assert {*ReflectionRow.objects.values_list("id", flat=True)} == {"b-0", "b-1"}


def test_what_is_changed_while_a_user_is_compacted_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    store, old = open_sql_store(TE), BEGIN - timedelta(days=1)
    first, second = ReflectionFactory.build_batch(2, user_id="eve", session_id="e", created_at=old)
    store.put([first, second, ReflectionFactory.build(id="e-2", user_id="eve", session_id="e")])
    changed = msgspec.structs.replace(first, notes="meanwhile")

    def remove_later(*arguments: Any, **named: Any) -> Any:
        store.put([changed])
        return remove(*arguments, **named)

    monkeypatch.setattr("orbsite.operations.retention.one_user.remove", remove_later)
    report = trim(store, Policy(keep_last=1), "eve", now=lambda: BEGIN, force=True)
    assert store.fetch(Reflection, [first.key, second.key]) == {first.key: changed}
    assert report.domains["te"].counts["reflections"] == {"read": 3, "kept": 2, "removed": 1}
    assert "1 were changed meanwhile" in report.domains["te"].findings[-1].message


def test_a_fifth_of_a_user_is_the_most_that_goes_unasked() -> None:
    store, policy = open_sql_store(TE), Policy(keep_last=1)
    with pytest.raises(TooMuch, match="3 of 3 reflections"):
        trim(store, policy, "ana", now=lambda: BEGIN)
    with pytest.raises(ClockJumped):
        trim(store, Policy(max_age_days=1), "ana", now=lambda: BEGIN - timedelta(days=9))
    report = trim(store, policy, "ana", now=lambda: BEGIN, dry_run=True)
    assert "unless it is forced" in report.domains["te"].findings[-1].message
    assert ReflectionRow.objects.count() == 4


@pytest.mark.parametrize("arguments", [{"policy": 1}, {"user": "ana"}])
def test_a_policy_and_a_user_go_together(arguments: Any) -> None:
    with pytest.raises(OrbError, match="go together"):
        jobs.start("compact", arguments, now=utc_now)


def test_a_policy_about_files_compacts_no_user_and_says_so() -> None:
    policy = RetentionPolicy.objects.create(name="f", domain="te", store="file", rules={"keep_last": 1})
    assert "choose another policy" in _compacted(policy=policy.pk, user="ana").error


def _compacted(**arguments: Any) -> Job:
    job = jobs.start("compact", arguments, now=utc_now)
    jobs.execute(job.pk, now=utc_now)
    job.refresh_from_db()
    return job
