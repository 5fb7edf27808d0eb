"""No input of the admin takes JSON, except under a disclosure that says so."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from luna.models import ActiveModeRow, ProfileRow
from orbsite.models.retention import RetentionPolicy
from orbsite.operations.jobs import catalog
from orbsite.storage.clock import utc_now
from te.models import ReflectionRow

pytestmark = pytest.mark.django_db
OPEN = {"input", "meta", "link", "br", "hr", "img", "option"}


class _Inputs(HTMLParser):
    """Collects the names of inputs, each with the summaries of the disclosures that it is in."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, list[str]] = {}
        self._summaries: list[str] = []
        self._in_summary = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "details":
            self._summaries.append("")
        elif tag == "summary":
            self._in_summary = True
        elif tag == "textarea" or (tag == "input" and given.get("type") in (None, "text", "hidden")):
            self.found[given.get("name") or ""] = list(self._summaries)

    def handle_endtag(self, tag: str) -> None:
        if tag == "details":
            self._summaries.pop()
        elif tag == "summary":
            self._in_summary = False

    def handle_data(self, data: str) -> None:
        if self._in_summary:
            self._summaries[-1] += data


def takes_json(field: forms.Field) -> bool:
    """Tell whether a field reads a text as JSON, or asks for it."""
    if "JSON" in f"{field.label} {field.help_text}":
        return True
    for text in ('{"a": 1}', '["a"]'):
        try:
            if isinstance(field.clean(text), dict | list) and field.clean(text) != [text]:
                return True
        except (ValidationError, TypeError, ValueError):
            continue
    return False


def json_inputs(client: Client, address: str) -> tuple[int, list[str]]:
    """Return how many fields of a page's form take JSON, and the names of those without a disclosure that says so."""
    page = client.get(address)
    assert page.status_code == 200, address
    form = page.context["adminform"].form if "adminform" in page.context else page.context["form"]
    parser = _Inputs()
    parser.feed(page.content.decode())
    names = [name for name, field in form.fields.items() if not field.disabled and takes_json(field)]
    assert all(name in parser.found for name in names)
    return len(names), [name for name in names if not any("JSON" in one for one in parser.found[name])]


def _rows() -> dict[type[Any], Any]:
    """Return a row of each model whose rows are edited."""
    now = utc_now()
    fields = {"id": "r", "user_id": "ana", "session_id": "s", "input": "i", "output": "o", "tags": ["a"]}
    rows: list[Any] = [
        ReflectionRow(**fields, created_at=now),
        ProfileRow(user_id="ana", mode_id="mars", preferences=["a"], constraints=["b"], updated_at=now),
        ActiveModeRow(user_id="ana", mode_id="mars"),
        RetentionPolicy(name="p", domain="te", rules={"keep_last": 1}),
    ]
    for row in rows:
        row.save()
    return {type(row): row for row in rows}


def test_no_form_of_a_model_takes_json_without_saying_so(admin_client: Client) -> None:
    rows, number = _rows(), 0
    for model, page in admin.site._registry.items():
        if not model.__module__.startswith(("orbsite", "luna", "te")):
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        request = admin_client.get(reverse("admin:index")).wsgi_request
        addresses = [reverse(f"{name}_add")] if page.has_add_permission(request) else []
        addresses += [reverse(f"{name}_change", args=[rows[model].pk])] if model in rows else []
        assert model in rows or not page.has_change_permission(request), f"add a row of {model} to this test"
        for address in addresses:
            found, open_ones = json_inputs(admin_client, address)
            number += found
            assert open_ones == [], address
    assert number >= 10  # tags, preferences, constraints, scopes, users, rules and the tags of a policy


def test_an_unlocked_reflection_and_a_profile_of_objects_say_so_too(admin_client: Client) -> None:
    row = _rows()[ReflectionRow]
    assert json_inputs(admin_client, reverse("admin:te_reflectionrow_change", args=[row.pk]) + "?unlock=1") == (1, [])
    profile = ProfileRow(user_id="bo", mode_id="mars", preferences={"a": 1}, constraints={}, updated_at=utc_now())
    profile.save()
    assert json_inputs(admin_client, reverse("admin:luna_profilerow_change", args=[profile.pk])) == (2, [])


@pytest.mark.parametrize("name", sorted(catalog.OPERATIONS))
def test_no_form_of_an_operation_takes_json_without_saying_so(admin_client: Client, name: str) -> None:
    found, open_ones = json_inputs(admin_client, reverse("admin:operation", args=[name]))
    assert open_ones == []
    assert found == (1 if name == "sanitize" else 0)


def test_a_field_that_takes_json_is_recognised() -> None:
    assert takes_json(forms.JSONField())
    assert takes_json(forms.CharField(help_text="a list as JSON"))
    assert not takes_json(forms.CharField())
    assert not takes_json(forms.IntegerField())
