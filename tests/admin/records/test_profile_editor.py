from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from luna.models import ProfileRow
from luna.records import Profile
from orbsite.admin.forms.list_field import MOST_ROWS, ListItems
from orbsite.models.ledger import Change, Run
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import declared
from tests.admin.browsing import form_of, shapes_of
from tests.support.factories import ProfileFactory
from tests.support.suites import naughty_strings

pytestmark = pytest.mark.django_db

PREFERENCES = ["calm-ui", "", " two  blanks ", "a\nb", "x\r\ny", "🚀", "<script>alert(1)</script>"]
CONSTRAINTS: list[Any] = [
    "plain text",
    {"id": "c-1", "type": "other", "active": True, "description": "Größe"},
    {"id": "", "type": "block_tool", "active": False, "toolId": "mail", "appliesToRoles": ["a", "b c"]},
    {"id": "c-3", "type": "other", "active": True, "later": {"1": 1.5, "a": [None, 10**20]}, "toolId": None},
    "line one\nline two",
]


def _row(**fields: Any) -> ProfileRow:
    record = ProfileFactory(user_id="ana", mode_id="mars")
    columns = {"user_id": "ana", "mode_id": "mars", "updated_at": record.updated_at}
    row = ProfileRow(**columns, **({"preferences": PREFERENCES, "constraints": CONSTRAINTS} | fields))
    row.save()
    ProfileRow.objects.filter(pk=row.pk).update(run_id=7)
    return row


def _open(client: Client, row: ProfileRow) -> tuple[str, dict[str, list[str]]]:
    url = reverse("admin:luna_profilerow_change", args=[row.pk])
    return url, form_of(client.get(url), "updated_at")


def _saved(client: Client, row: ProfileRow, **changed: Any) -> ProfileRow:
    url, form = _open(client, row)
    for name, value in changed.items():
        form.pop(name, None) if value is None else form.__setitem__(name, [value])
    answer = client.post(url, form)
    assert answer.status_code == 302, answer.context["errors"]
    return ProfileRow.objects.get(pk=row.pk)


def _free(form: dict[str, list[str]], name: str, kind: str) -> str:
    """Return the prefix of the first empty row."""
    rows = [key.removesuffix("-form") for key in form if key.startswith(f"{name}-") and key.endswith("-form")]
    return next(one for one in rows if f"{one}-was" not in form and form[f"{one}-form"] == [kind])


def test_what_nobody_changed_stays_as_it_is_to_the_last_key(admin_client: Client) -> None:
    row = _row()
    before = ProfileRow.objects.values().get()
    saved = _saved(admin_client, row)
    assert ProfileRow.objects.values().get() == before
    assert (saved.preferences, saved.constraints, saved.run_id) == (PREFERENCES, CONSTRAINTS, 7)
    assert (Run.objects.count(), Change.objects.count()) == (0, 0)


def test_each_item_has_a_row_of_its_own_and_an_empty_one_stands_ready(admin_client: Client) -> None:
    _, form = _open(admin_client, _row())
    assert [form[f"preferences-{at}-text"] for at in range(3)] == [["calm-ui"], [""], [" two  blanks "]]
    assert form["preferences-3-text"] == ["a\r\nb"]
    assert form["constraints-2-toolId"] == ["mail"]
    assert form["constraints-2-appliesToRoles"] == ["a\r\nb c"]
    assert "constraints-1-active" in form
    assert "constraints-2-active" not in form
    assert _free(form, "preferences", "text")
    assert _free(form, "constraints", "text")
    assert _free(form, "constraints", "object")


def test_items_are_changed_added_removed_and_moved_without_a_script(admin_client: Client) -> None:
    row = _row()
    _, form = _open(admin_client, row)
    changed = {
        "preferences-0-text": "calm",
        "preferences-0-place": "9",
        "preferences-2-remove": "1",
        "preferences-5-text": "",  # emptied by hand
        f"{_free(form, 'preferences', 'text')}-text": "new",
    }
    saved = _saved(admin_client, row, **changed)
    assert saved.preferences == ["", "a\nb", "x\r\ny", "<script>alert(1)</script>", "calm", "new"]
    assert (saved.constraints, saved.run_id) == (CONSTRAINTS, None)
    assert saved.digest == digest(saved.record())


def test_both_forms_of_constraints_keep_their_form_and_their_unknown_keys(admin_client: Client) -> None:
    row = _row()
    changed = {
        "constraints-0-text": "other text",
        "constraints-1-active": None,
        "constraints-2-toolId": "",
        "constraints-2-appliesToRoles": "a\r\n\r\nc",
        "constraints-3-description": "said\r\ntwice",
        "constraints-4-place": "1",
        "constraints-0-place": "2",
    }
    assert _saved(admin_client, row, **changed).constraints == [
        "line one\nline two",
        "other text",
        CONSTRAINTS[1] | {"active": False},
        {"id": "", "type": "block_tool", "active": False, "appliesToRoles": ["a", "c"]},
        CONSTRAINTS[3] | {"description": "said\ntwice"},
    ]


def test_a_new_constraint_begins_with_its_defaults_and_a_free_id(admin_client: Client) -> None:
    row = _row(constraints=[{"id": "constraint-1", "type": "other", "active": True}])
    _, form = _open(admin_client, row)
    as_object, as_text = _free(form, "constraints", "object"), _free(form, "constraints", "text")
    assert form[f"{as_object}-type"] == ["other"]
    saved = _saved(admin_client, row, **{f"{as_object}-description": "be brief", f"{as_text}-text": "as before"})
    assert saved.constraints[1:] == [
        {"id": "constraint-2", "type": "other", "active": True, "description": "be brief"},
        "as before",
    ]


def test_json_counts_where_somebody_says_so(admin_client: Client) -> None:
    row = _row()
    assert _saved(admin_client, row, preferences='["ignored"]').preferences == PREFERENCES
    wanted = {"preferences": '["taken"]', "preferences-as-json": "1"}
    assert _saved(admin_client, row, **wanted).preferences == ["taken"]
    url, form = _open(admin_client, row)
    answer = admin_client.post(url, form | {"preferences": ["[1"], "preferences-as-json": ["1"]})
    assert "not valid JSON" in str(answer.context["errors"])
    assert form_of(answer, "updated_at")["preferences"] == ["[1"]


def test_rows_that_were_sent_otherwise_than_shown_are_an_error_of_the_form(admin_client: Client) -> None:
    url, form = _open(admin_client, _row())
    answer = admin_client.post(url, form | {"preferences-0-was": ["{"]})
    assert "not valid JSON" in str(answer.context["errors"])


@pytest.mark.parametrize("text", ["a\x00b", "\x00"])
def test_a_text_that_no_record_may_hold_is_an_error_of_the_form(admin_client: Client, text: str) -> None:
    url, form = _open(admin_client, _row())
    answer = admin_client.post(url, form | {"preferences-0-text": [text], "constraints-1-id": [text]})
    assert "$[0]: " in str(answer.context["errors"])
    assert "\\u0000" in form_of(answer, "updated_at")["preferences"][0]
    assert ProfileRow.objects.get().preferences == PREFERENCES


def test_a_form_with_an_error_still_has_what_was_written(admin_client: Client) -> None:
    url, form = _open(admin_client, _row())
    answer = admin_client.post(url, form | {"updated_at": ["soon"], "preferences-0-text": ["calm"]})
    assert form_of(answer, "updated_at")["preferences-0-text"] == ["calm"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [MOST_ROWS, MOST_ROWS + 1])
def test_a_list_beyond_all_bounds_is_edited_as_json(admin_client: Client, number: int) -> None:
    many = [f"p{at}" for at in range(number)]
    row = _row(preferences=many, constraints=[{"id": name, "type": "other", "active": True} for name in many])
    _, form = _open(admin_client, row)
    assert ("preferences-0-text" in form) is (number == MOST_ROWS)
    assert _saved(admin_client, row).preferences == many
    if number > MOST_ROWS:
        assert _saved(admin_client, row, preferences='["a"]').preferences == ["a"]


@pytest.mark.slow
def test_hostile_strings_pass_unchanged_and_run_nowhere(admin_client: Client) -> None:
    strings = naughty_strings()
    assert len(strings) > 500
    tame = shapes_of(admin_client.get(reverse("admin:luna_profilerow_change", args=[_row().pk])))
    for start in range(0, len(strings), 130):
        part = strings[start : start + 130]
        objects = [
            {"id": one, "type": one, "active": True, "description": one, "appliesToRoles": [one]} for one in part
        ]
        ProfileRow.objects.all().delete()
        row = _row(preferences=part, constraints=[*part, *objects])
        page = admin_client.get(reverse("admin:luna_profilerow_change", args=[row.pk]))
        assert shapes_of(page) <= tame
        saved = _saved(admin_client, row)
        assert (saved.preferences, saved.constraints) == (part, [*part, *objects])
    assert Change.objects.count() == 0


def test_a_change_has_the_time_of_the_change_unless_somebody_writes_one(admin_client: Client) -> None:
    row = _row()
    saved = _saved(admin_client, row, **{"preferences-0-text": "calm"})
    run = Run.objects.get()
    assert (run.operation, run.state, run.counts["luna"]["profiles"]["changed"]) == ("edit", "complete", 1)
    assert saved.updated_at == run.started_at
    again = _saved(admin_client, row, updated_at="2024-02-03T04:05:06Z", **{"preferences-0-text": "calmer"})
    assert again.updated_at.isoformat() == "2024-02-03T04:05:06+00:00"


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(admin_client: Client) -> None:
    row = _row()
    url, form = _open(admin_client, row)
    _saved(admin_client, row, **{"preferences-0-text": "theirs"})
    answer = admin_client.post(url, form | {"preferences-0-text": ["mine"]})
    assert "this record was changed after you opened the page" in answer.content.decode()
    assert ProfileRow.objects.get().preferences[0] == "theirs"
    assert form_of(answer, "updated_at")["preferences-0-text"] == ["mine"]


def test_what_somebody_else_mended_meanwhile_is_not_overwritten(admin_client: Client) -> None:
    row = _row()
    ProfileRow.objects.filter(pk=row.pk).update(preferences=[1, "a"])
    url, form = _open(admin_client, row)
    ProfileRow.objects.filter(pk=row.pk).update(preferences=["mended"])
    answer = admin_client.post(url, form | {"preferences-0-remove": ["1"]})
    assert "this record was changed after you opened the page" in answer.content.decode()
    assert ProfileRow.objects.get().preferences == ["mended"]


def test_a_row_that_does_not_decode_is_mended_and_what_it_said_is_kept(admin_client: Client) -> None:
    row = _row()
    ProfileRow.objects.filter(pk=row.pk).update(preferences=[1, "a"], constraints=[{"id": 1}])
    saved = _saved(admin_client, row, **{"preferences-0-remove": "1", "constraints-0-remove": "1", "reason": "broken"})
    assert (saved.preferences, saved.constraints, saved.user_id) == (["a"], [], "ana")
    change = Change.objects.get()
    assert json.loads(change.before)["columns"]["preferences"] == [1, "a"]
    assert (change.reason, change.actor) == ("broken", "admin")
    page = admin_client.get(reverse("admin:record_history", args=["luna", "profiles", ("ana", "mars")]))
    assert "cannot be decoded" in page.content.decode()
    assert "Restore the version" not in page.content.decode()


def test_whoever_may_only_look_gets_no_inputs(client: Client) -> None:
    row = _row()
    user = User.objects.create_user("viewer", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_profilerow"))
    client.force_login(user)
    url = reverse("admin:luna_profilerow_change", args=[row.pk])
    page = client.get(url).content.decode()
    assert "calm-ui" in page
    assert 'name="preferences' not in page
    assert "Reset to preset" not in page
    assert client.post(url, {"preferences": "[]"}).status_code == 403


def test_a_profile_is_added_row_by_row(admin_client: Client) -> None:
    url = reverse("admin:luna_profilerow_add")
    form = form_of(admin_client.get(url), "updated_at")
    assert form["updated_at"][0].endswith("Z")
    sent = {"user_id": ["new"], "mode_id": ["mars"], f"{_free(form, 'preferences', 'text')}-text": ["calm-ui"]}
    assert admin_client.post(url, form | sent).status_code == 302
    row = ProfileRow.objects.get()
    assert (row.preferences, row.constraints, row.digest) == (["calm-ui"], [], digest(row.record()))
    assert json.loads(Change.objects.get().before) == {"delete": "profiles", "key": ["new", "mars"]}


def test_rows_are_made_from_the_declaration() -> None:
    assert ListItems.of(declared(Profile)["user_id"], "x") is None
    assert ListItems.of(tuple[int, ...], "x") is None
    found = ListItems.of(declared(Profile)["constraints"], "constraint")
    assert found is not None
    names = [one.name for one, _ in found.fields]
    assert names == ["id", "type", "active", "toolId", "maxRisk", "appliesToRoles", "description"]
