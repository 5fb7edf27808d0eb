"""Sealed texts are masked in lists, and opened after the password is told; each visit is logged."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from luna.domain import DOMAIN as LUNA
from orbsite.models.audit_log import Event
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.records.edit import edit
from orbsite.storage.clock import utc_now
from orbsite.stores import open_sql_store
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from tests.admin.browsing import form_of
from tests.admin.starting import confirm, forget
from tests.support.factories import ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db
CANARY = "canary-77aa"


@pytest.fixture
def root(client: Client, settings: Any) -> Client:
    settings.ORB_PERSISTENCE, settings.ORB_KEYS = "sql", f"k:{base64.b64encode(b'k' * 32).decode()}"
    open_sql_store(TE).put([ReflectionFactory(id="r", user_id="ana", session_id="s", input=CANARY)])
    open_sql_store(LUNA).put([ProfileFactory(user_id="ana", mode_id="mars", preferences=(CANARY,))])
    changed = ReflectionFactory(id="r", user_id="ana", session_id="s", input=f"{CANARY} changed")
    edit(open_sql_store(TE), changed, hand=Actor(actor="bo", at=utc_now()))
    client.force_login(User.objects.create_superuser("root", password="open sesame"))
    forget(client)
    Event.objects.all().delete()
    return client


def addresses() -> list[str]:
    row = ReflectionRow.objects.get()
    return [
        reverse("admin:te_reflectionrow_change", args=[row.pk]),
        reverse("admin:session", args=["ana", "s"]),
        reverse("admin:record_history", args=["te", "reflections", ("ana", "r")]),
        reverse("admin:luna_profilerow_change", args=[1]),
        reverse("admin:orbsite_change_change", args=[1]),
    ]


@pytest.mark.parametrize("name", ["te_reflectionrow", "luna_profilerow", "orbsite_change", "orbsite_reject"])
def test_lists_show_a_mask(root: Client, name: str) -> None:
    page = root.get(reverse(f"admin:{name}_changelist"))
    assert page.status_code == 200
    assert CANARY not in page.content.decode()
    assert "orb:sealed" not in page.content.decode()


def test_pages_of_records_ask_for_the_password_show_the_texts_and_are_logged(root: Client) -> None:
    for address in addresses():
        asked = root.get(address)
        assert asked.status_code == 302, address
        assert "again" in asked["Location"]
    assert Event.objects.count() == 0
    confirm(root)
    for number, address in enumerate(addresses(), 1):
        page = root.get(address)
        assert CANARY in page.content.decode(), address
        assert "orb:sealed" not in page.content.decode(), address
        assert Event.objects.filter(act="open", actor="root").count() == number


def test_an_edit_is_sealed_again(root: Client) -> None:
    confirm(root)
    row = ReflectionRow.objects.get()
    address = reverse("admin:te_reflectionrow_change", args=[row.pk]) + "?unlock=1"
    form = form_of(root.get(address), "output")
    assert root.post(address, form | {"output": [f"{CANARY} edited"]}).status_code == 302
    stored = ReflectionRow.objects.get()
    assert CANARY not in stored.output
    assert (stored.record().input, stored.record().output) == (f"{CANARY} changed", f"{CANARY} edited")
    assert root.post(address, form).status_code == 200  # it was filled from the version before


def test_what_is_plain_is_shown_as_before(client: Client, settings: Any) -> None:
    settings.ORB_PERSISTENCE = "sql"
    open_sql_store(TE).put([ReflectionFactory(id="r", user_id="ana", session_id="s", input=CANARY)])
    client.force_login(User.objects.create_superuser("root", password="open sesame"))
    forget(client)
    assert CANARY in client.get(addresses()[0]).content.decode()
    assert not Event.objects.filter(act="open").exists()
