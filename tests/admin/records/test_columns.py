"""The columns of a list are chosen by each person, remembered in a signed cookie, and need no script."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from luna.domain import DOMAIN as LUNA
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from tests.admin.browsing import form_of
from tests.admin.people import staff_client
from tests.support.factories import ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db
LIST = "/admin/te/reflectionrow/"
DEFAULT = ["created", "user", "session", "input", "output", "tags"]


@pytest.fixture
def viewer() -> Client:
    SqlStore(DOMAIN).put([ReflectionFactory(notes="a note")])
    return staff_client("vera", "te.view_reflectionrow")


def _columns(client: Client, address: str) -> list[str]:
    page = client.get(address).content.decode()
    return re.findall(r'<th scope="col"[^>]*>\s*(?:<div class="sortoptions">.*?</div>)?\s*<div class="text">'
                      r"<(?:a|span)[^>]*>(\w+)</", page, re.DOTALL)  # fmt: skip


def _choose(client: Client, *columns: str, **more: str) -> Any:
    form = {"column": columns, "next": f"{LIST}?user_id=ana", **more}
    return client.post(f"{LIST}columns/", form)


def _names(client: Client) -> list[str]:
    return [name.lower() for name in _columns(client, LIST)]


def test_columns_are_chosen_and_remembered_by_a_form(viewer: Client) -> None:
    assert _names(viewer) == DEFAULT
    form = form_of(viewer.get(f"{LIST}?user_id=ana"), "column")
    assert form["column"] == [f"shown_{name}" for name in ("time", *DEFAULT[1:])]
    answer = _choose(viewer, "shown_tags", "shown_notes", "shown_input")
    assert answer["Location"] == f"{LIST}?user_id=ana"
    assert _names(viewer) == ["created", "input", "tags", "notes"]
    assert "a note" in viewer.get(LIST).content.decode()
    _choose(viewer, default="1")
    assert _names(viewer) == DEFAULT


def test_the_columns_that_sort_and_link_cannot_be_hidden(viewer: Client) -> None:
    _choose(viewer)
    assert _names(viewer) == ["created"]
    page = viewer.get(LIST).content.decode()
    assert re.search(r'id="column-shown_time" checked disabled', page)
    assert "/change/" in page


def test_a_choice_is_of_one_list_and_one_person(viewer: Client) -> None:
    SqlStore(LUNA).put([ProfileFactory()])
    _choose(viewer, "shown_id")
    other = staff_client("otto", "te.view_reflectionrow", "luna.view_profilerow")
    other.cookies.update(viewer.cookies)
    other.force_login(_user("otto"))
    assert _names(other) == DEFAULT
    assert _columns(other, "/admin/luna/profilerow/")[:2] == ["User", "Mode"]


def _user(name: str) -> Any:
    from django.contrib.auth.models import User

    return User.objects.get(username=name)


def test_a_changed_cookie_and_unknown_names_are_not_obeyed(viewer: Client) -> None:
    _choose(viewer, "shown_input", "delete_model", "password", "__class__")
    assert _names(viewer) == ["created", "input"]
    name = next(name for name in viewer.cookies if name.startswith("orb_columns_"))
    kept = viewer.cookies[name]
    assert (kept["httponly"], kept["samesite"], kept["path"]) == (True, "Lax", "/admin/")
    viewer.cookies[name] = f"{kept.value}x"
    assert _names(viewer) == DEFAULT


def test_who_may_not_see_a_list_chooses_no_columns(viewer: Client) -> None:
    nobody = staff_client("nora")
    assert _choose(nobody, "shown_input").status_code == 404
    assert viewer.get(f"{LIST}columns/").status_code == 405
    assert _choose(viewer, "shown_input", next="//example.org/")["Location"] == "/admin/"
