"""The form of a retention policy: its fields, its JSON, and what it says it would do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from orbsite.admin.registrations.policy_effect import due_in_words, due_moments
from orbsite.admin.registrations.policy_form import PREVIEW
from orbsite.models.retention import RetentionPolicy
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from tests.admin.people import staff_client
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db
FORM = {
    "name": "p", "domain": "te", "store": "sql", "rules": "{}", "repeat": "interval", "every_number": "2",
    "every_unit": "weeks", "enabled": "on", "next_due_0": "", "next_due_1": "",
}  # fmt: skip
ADD, EXPLAIN = "/admin/orbsite/retentionpolicy/add/", "/admin/orbsite/retentionpolicy/explain/"


def _change(policy: RetentionPolicy) -> str:
    return reverse("admin:orbsite_retentionpolicy_change", args=[policy.pk])


def _tags(*tags: str) -> dict[str, str]:
    rows = {f"keep_tags-{at}-text": tag for at, tag in enumerate(tags)}
    return {"keep_tags-rows": "1"} | rows | {f"keep_tags-{at}-form": "text" for at in range(len(tags))}


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
    assert admin_client.post(ADD, FORM | given | _tags("pinned", "home", "", "pinned")).status_code == 302
    policy = RetentionPolicy.objects.get()
    assert (policy.rules, policy.every) == (rules | {"keep_tags": ["pinned", "home"]}, 14 * 86_400)
    page = admin_client.get(_change(policy)).content.decode()
    assert 'name="keep_tags-1-text" id="id_keep_tags-1-text" value="home"' in page
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
        ({"repeat": "year"}, "Select a valid choice"),
        ({"repeat": "week", "weekday": "7", "at": "03:00", "zone": "UTC"}, "Select a valid choice"),
        ({"repeat": "month", "month_day": "32", "at": "03:00", "zone": "UTC"}, "less than or equal to 31"),
        ({"repeat": "day", "at": "25:00", "zone": "UTC"}, "Enter a valid time"),
        ({"repeat": "day", "at": "03:00", "zone": "Mars/Olympus"}, "Choose another time zone"),
        ({"repeat": "day", "at": "03:00", "zone": ""}, "This field is required"),
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
    fields = {"max_age_days": "90", "every_number": "90", "every_unit": "seconds"}
    form = FORM | fields | _tags("a, b", " c ") | {"rules": json.dumps(odd)}
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
    numbers = f"{text} Today it would remove 5 of 10 records."
    assert _explained(admin_client, max_age_days="4.5", force="on") == numbers
    guarded = f"{numbers} This is more than a fifth: a run removes nothing until you tick “Force”."
    assert _explained(admin_client, max_age_days="4.5") == guarded
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
    overdue = RetentionPolicy(repeat="day", at=time(3), next_due=now - timedelta(days=9))
    expected = [now - timedelta(days=9), *(now + timedelta(days=days, hours=3) for days in (0, 1))]
    assert due_moments(overdue, now) == expected


def test_the_next_moments_are_told_in_the_zone_with_what_its_clocks_do() -> None:
    now = datetime(2026, 3, 28, 12, tzinfo=UTC)
    policy = RetentionPolicy(repeat="day", at=time(2, 30), zone="Europe/Berlin", next_due=now)
    assert due_in_words(policy, now) == [
        "Saturday, 2026-03-28 13:00 CET",
        "Sunday, 2026-03-29 03:30 CEST (instead of 02:30, which a change of clocks skips on that day)",
        "Monday, 2026-03-30 02:30 CEST",
    ]
    assert "no time zone" in due_in_words(RetentionPolicy(repeat="day", zone="Mars/Olympus"), now)[0]


DAILY = {"repeat": "day", "at": "03:30", "zone": "Asia/Tokyo", "keep_last": "5"}


def test_a_policy_of_a_calendar_is_due_at_its_first_moment(admin_client: Client) -> None:
    assert admin_client.post(ADD, FORM | DAILY).status_code == 302
    policy = RetentionPolicy.objects.get()
    assert policy.schedule.in_words() == "every day at 03:30 (Asia/Tokyo)"
    assert policy.next_due is not None
    assert datetime.now(UTC) < policy.next_due <= datetime.now(UTC) + timedelta(days=1)
    assert policy.next_due.astimezone(UTC).time() == time(18, 30)
    page = admin_client.get(_change(policy)).content.decode()
    assert page.count("03:30 JST</li>") == 3
    changed = FORM | DAILY | {"repeat": "month", "month_day": "31", "at": "04:00", "rules": '{"keep_last": 5}'}
    due = {"next_due_0": f"{policy.next_due:%Y-%m-%d}", "next_due_1": f"{policy.next_due:%H:%M:%S}"}
    assert admin_client.post(_change(policy), changed | due).status_code == 302
    policy.refresh_from_db()
    assert policy.next_due.astimezone(UTC).time() == time(19)
    assert policy.schedule.in_words() == "every month on day 31, or on its last day, at 04:00 (Asia/Tokyo)"


def test_what_does_not_change_the_schedule_does_not_move_the_next_run(admin_client: Client) -> None:
    policy = RetentionPolicy.objects.create(
        name="p", domain="te", rules={"keep_last": 5}, repeat="day", at=time(3, 30), zone="Asia/Tokyo"
    )
    form = FORM | DAILY | {"rules": '{"keep_last": 5}', "name": "q", "month_day": "99", "every_number": ""}
    assert admin_client.post(_change(policy), form).status_code == 302
    policy.refresh_from_db()
    assert (policy.name, policy.next_due) == ("q", None)  # it was made due by hand
    given = {"next_due_0": "2026-01-02", "next_due_1": "03:04:05", "at": "05:00"}
    assert admin_client.post(_change(policy), form | given).status_code == 302
    policy.refresh_from_db()
    assert (policy.at, policy.next_due) == (time(5), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_the_button_shows_the_effect_without_a_script_and_saves_nothing(admin_client: Client) -> None:
    now = datetime.now(UTC)
    SqlStore(DOMAIN).put([ReflectionFactory(created_at=now - timedelta(days=days)) for days in range(10)])
    form = FORM | DAILY | {"keep_last": "", "max_age_days": "4.5", PREVIEW: "1"}
    page = admin_client.post(ADD, form).content.decode()
    assert "Today it would remove 5 of 10 records." in page
    assert page.count("03:30 JST</li>") == 3
    assert page.count('class="orb-bar-removed"') == 10
    assert f'<tr><th scope="row">{now:%Y-%m-%d}</th><td>1</td><td>0</td></tr>' in page
    assert "errornote" not in page
    assert 'value="4.5"' in page
    assert not RetentionPolicy.objects.exists()
    assert "Select a valid choice" in admin_client.post(ADD, form | {"domain": "mars"}).content.decode()
    editor = staff_client("edda", "orbsite.add_retentionpolicy")
    assert "Today it would" not in editor.post(ADD, form).content.decode()


def test_a_large_store_is_not_counted_in_the_form(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbsite.admin.registrations.policy_effect.MOST_COUNTED", 2)
    SqlStore(DOMAIN).put([ReflectionFactory() for _ in range(3)])
    assert "too many records to count here" in _explained(admin_client, max_age_days="3")


def test_a_list_of_policies_tells_their_schedules(admin_client: Client) -> None:
    RetentionPolicy.objects.create(name="p", domain="te", rules={"keep_last": 5}, repeat="week", weekday=6)
    RetentionPolicy.objects.create(name="q", domain="te", rules={"keep_last": 5}, repeat="day", zone="Mars/Olympus")
    page = admin_client.get(reverse("admin:orbsite_retentionpolicy_changelist")).content.decode()
    assert "every Sunday at 03:00 (UTC)" in page
    assert "no time zone &#x27;Mars/Olympus&#x27;" in page


def test_an_interval_beyond_the_column_is_refused(admin_client: Client) -> None:
    page = admin_client.post(ADD, FORM | {"keep_last": "1", "every_number": "1000000"}).content.decode()
    assert "Give a shorter interval" in page
    assert not RetentionPolicy.objects.exists()


def test_time_zones_are_offered(admin_client: Client) -> None:
    page = admin_client.get(ADD).content.decode()
    assert '<datalist id="id_zone-suggestions"><option value="UTC">' in page
    assert 'list="id_zone-suggestions"' in page
    assert '<option value="Europe/Berlin">' in page
