"""The form of a retention policy: its fields, its JSON, and what it says it would do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from orbsite.admin.registrations.policy_form import due_moments
from orbsite.models.retention import RetentionPolicy
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from tests.admin.people import staff_client
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db
FORM = {
    "name": "p", "domain": "te", "store": "sql", "rules": "{}", "every_number": "2", "every_unit": "weeks",
    "next_due_0": "", "next_due_1": "",
}  # fmt: skip
ADD, EXPLAIN = "/admin/orbsite/retentionpolicy/add/", "/admin/orbsite/retentionpolicy/explain/"


def _change(policy: RetentionPolicy) -> str:
    return reverse("admin:orbsite_retentionpolicy_change", args=[policy.pk])


def _explained(client: Client, **form: Any) -> str:
    answer = client.post(EXPLAIN, FORM | form)
    assert answer.status_code == 200
    return str(answer.json()["text"])


def test_each_field_is_a_rule_and_the_schedule_has_units(admin_client: Client) -> None:
    rules = {
        "max_age_days": 90.5, "max_per_session": 1000, "keep_within_days": 7.0, "keep_last": 5, "keep_last_of_user": 50,
        "keep_daily": 7, "keep_weekly": 4, "keep_monthly": 12,
    }  # fmt: skip
    given = {name: str(value) for name, value in rules.items()}
    assert admin_client.post(ADD, FORM | given | {"keep_tags": " pinned, home,, pinned"}).status_code == 302
    policy = RetentionPolicy.objects.get()
    assert (policy.rules, policy.every) == (rules | {"keep_tags": ["pinned", "home"]}, 14 * 86_400)
    page = admin_client.get(_change(policy)).content.decode()
    assert 'value="pinned, home"' in page
    assert '<option value="weeks" selected>' in page


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({}, "a policy without any rule is refused"),
        ({"keep_last": "0"}, "keep_last is 0; give more than 0"),
        ({"keep_last": "-1"}, "greater than or equal to 0"),
        ({"keep_last": "many"}, "Enter a whole number"),
        ({"every_number": "0"}, "greater than or equal to 1"),
        ({"every_unit": "years"}, "Select a valid choice"),
        ({"rules": '{"no_such": 1}'}, "the policy is not valid"),
        ({"rules": '{"keep_last": 1}', "keep_last": "2"}, "Change them in one of the places."),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_stored(admin_client: Client, form: dict[str, str], told: str) -> None:
    page = admin_client.post(ADD, FORM | form)
    assert page.status_code == 200
    assert told in page.content.decode()
    assert not RetentionPolicy.objects.exists()


def test_json_replaces_the_fields_and_rules_that_were_not_touched_stay_as_they_are(admin_client: Client) -> None:
    odd = {"keep_tags": ["a, b", " c "], "max_age_days": 90}
    policy = RetentionPolicy.objects.create(name="p", domain="te", rules=odd, every=90)
    fields = {"max_age_days": "90", "keep_tags": "a, b,  c ", "every_number": "90", "every_unit": "seconds"}
    form = FORM | fields | {"rules": json.dumps(odd)}
    admin_client.post(_change(policy), form | {"name": "q", "keep_last": "3"})
    policy.refresh_from_db()
    assert (policy.name, policy.rules, policy.every) == ("q", odd | {"keep_last": 3}, 90)
    form |= {"name": "q", "keep_last": "3", "rules": '{"max_per_session": 5}'}
    admin_client.post(_change(policy), form)
    policy.refresh_from_db()
    assert policy.rules == {"max_per_session": 5}


def test_a_form_tells_what_it_would_do_to_those_who_may_know(admin_client: Client) -> None:
    now = datetime.now(UTC)
    SqlStore(DOMAIN).put([ReflectionFactory(created_at=now - timedelta(days=days)) for days in range(10)])
    text = "Remove reflections that are older than 4.5 days. Keep all others."
    assert _explained(admin_client, max_age_days="4.5") == f"{text} Today it would remove 5 of 10 records."
    editor = staff_client("edda", "orbsite.add_retentionpolicy")
    assert _explained(editor, max_age_days="4.5") == text
    assert "without any rule" in _explained(admin_client)
    assert "greater than or equal to 0" in _explained(admin_client, keep_last="-1")
    assert "one of the places" in _explained(admin_client, keep_last="1", rules='{"keep_last": 2}')
    assert "Select a valid choice" in _explained(admin_client, keep_last="1", store="memory")
    assert SqlStore(DOMAIN).count(DOMAIN.kinds[0]) == 10


@pytest.mark.parametrize("policy", ["", "x", "-1", "9" * 30, "12345", "1.5"])
def test_a_policy_that_is_none_is_a_new_one(admin_client: Client, policy: str) -> None:
    assert "older than 3 days" in _explained(admin_client, max_age_days="3", policy=policy)


def test_who_may_not_change_policies_is_told_nothing() -> None:
    viewer = staff_client("vera", group="viewer")
    assert viewer.post(EXPLAIN, FORM).status_code == 403
    assert staff_client("nora").post(EXPLAIN, FORM).status_code == 404


def test_who_may_only_view_a_policy_reads_what_it_does() -> None:
    policy = RetentionPolicy.objects.create(name="p", domain="te", rules={"max_age_days": 90})
    page = staff_client("vera", group="viewer").get(_change(policy)).content.decode()
    assert "Remove reflections that are older than 90 days. Keep all others." in page
    assert "policy.js" not in page
    assert "Keep the newest" not in page
    assert "policy.js" in staff_client("olga", group="operator").get(_change(policy)).content.decode()


def test_only_a_form_is_explained(admin_client: Client) -> None:
    assert admin_client.get(EXPLAIN).status_code == 405


def test_the_next_moments_are_told() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    policy = RetentionPolicy(every=3600, next_due=now + timedelta(hours=5))
    assert due_moments(policy, now) == [now + timedelta(hours=hours) for hours in (5, 6, 7)]
    assert due_moments(RetentionPolicy(every=60), now) == [now + timedelta(minutes=minutes) for minutes in range(3)]
    assert due_moments(RetentionPolicy(every=60, enabled=False), now) == []
