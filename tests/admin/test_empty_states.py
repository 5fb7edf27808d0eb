"""Every list without rows says why it is empty and what to do first; one that is filtered says how to see all."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from orbsite.admin.empty_states import empty_states
from orbsite.models.audit_log import Event
from orbsite.models.ledger import Run
from orbsite.storage.clock import utc_now
from tests.admin.starting import staff_client, words

pytestmark = pytest.mark.django_db
RUNS = "admin:orbsite_run_changelist"


def test_every_list_of_ours_says_what_to_do_first(admin_client: Client) -> None:
    user = admin_client.get(reverse("admin:index")).context["user"]
    states = {state.model: state for state in empty_states(user)}
    ours = {
        model._meta.label_lower for model in admin.site._registry if model._meta.app_label in ("orbsite", "luna", "te")
    }
    assert ours == set(states)
    for label, state in states.items():
        Event.objects.all().delete()  # of the sign-in
        page = admin_client.get(reverse(f"admin:{label.replace('.', '_')}_changelist"))
        assert state.text in words(page), label
        assert (f'<a href="{state.address}">{state.label}</a>' in page.content.decode()) == bool(state.address)


def test_only_what_one_may_start_is_linked() -> None:
    page = staff_client("view_run").get(reverse(RUNS))
    assert "No operation has written anything yet." in words(page)
    assert "Migrate…" not in words(page)


def test_a_filter_that_leaves_nothing_offers_all(admin_client: Client) -> None:
    Run.objects.create(operation="migrate", started_at=utc_now())
    assert "yet." not in words(admin_client.get(reverse(RUNS)))
    seen = words(admin_client.get(reverse(RUNS), {"state__exact": "failed"}))
    assert "Nothing matches the search and the filters. Show all" in seen
    assert "yet." not in seen
