from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse

from luna.models import ActiveModeRow
from luna.records import ActiveMode
from orbsite.admin.base.url_converters import key_of, quoted
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.admin.browsing import boxes_of, followed, form_of, link_of
from tests.support.factories import ReflectionFactory
from tests.support.suites import naughty_strings

pytestmark = pytest.mark.django_db
IDS = [
    ".", "..", "...", "./", "../..", "_2E", "_2E_2E", "_5F2E", "%2e", "%2E%2E", "a/../b", "/", "//", "\\", " ", "\t",
    "\n", "\r", "a\r\nb", "a\nb", "?", "#", "&=", ";", ":", "~", "~Lg", ",", "a,b", "add", "history", "orb-id:x",
    "orb-id:~Lg", "__proto__", "\u2028", "\x7f", "\x01", "Größe", "用户", "👨‍👩‍👧", "<x>", "'\"", "x" * 255,
]  # fmt: skip


def _link(name: str) -> str:
    return reverse("admin:te_reflectionrow_change", args=[ReflectionRow.objects.get(id=name).pk])


def _answer(client: Client, response: Any, href: str) -> Any:
    """Follow a link as a browser does, and where it leads on."""
    url = followed(response, href)
    answer = client.get(url)
    return client.get(followed(answer, answer.headers["Location"])) if answer.status_code == 302 else answer


@pytest.mark.parametrize("name", IDS)
def test_a_row_has_working_links_whatever_its_id(admin_client: Client, name: str) -> None:
    record = ReflectionFactory(id=name, notes="here it is")
    SqlStore(TE).put([record, ReflectionFactory()])
    listed = admin_client.get(reverse("admin:te_reflectionrow_changelist"))
    shown = _answer(admin_client, listed, _link(name))
    assert shown.context["original"].id == name
    assert "here it is" in shown.content.decode()
    history, delete = link_of(shown, "/history/$"), link_of(shown, "/delete/$")
    form = form_of(shown, "created_at") | {"notes": ["changed"], "_continue": ["1"]}
    url = followed(shown, _link(name))
    saved = admin_client.post(url, form)
    assert followed(saved, saved.headers["Location"]) == url
    assert ReflectionRow.objects.get(id=name).notes == "changed"
    past = _answer(admin_client, shown, history)
    assert "here it is" in past.content.decode()
    assert _answer(admin_client, past, link_of(past, "/change/$")).context["original"].id == name
    admin_client.post(_revert(past), form_of(past, "expect"))
    assert ReflectionRow.objects.get(id=name).notes == "here it is"
    asked = _answer(admin_client, shown, delete)
    admin_client.post(followed(asked, delete), {"post": "yes"})
    assert not ReflectionRow.objects.filter(id=name).exists()
    assert ReflectionRow.objects.count() == 1


def _revert(page: Any) -> str:
    subject = page.context["subject"]
    return reverse(
        "admin:record_revert", args=["te", "reflections", subject.key, page.context["versions"][0].change.pk]
    )


@pytest.mark.parametrize("name", IDS)
def test_a_row_is_chosen_in_a_list_whatever_its_id(admin_client: Client, name: str) -> None:
    SqlStore(TE).put([ReflectionFactory(id=name, tags=()), ReflectionFactory(id="ab", tags=())])
    url = reverse("admin:te_reflectionrow_changelist")
    box = str(ReflectionRow.objects.get(id=name).pk)
    assert box in boxes_of(admin_client.get(url), "_selected_action")
    asked = admin_client.post(url, {"action": "tag", "index": "0", "_selected_action": box})
    form = form_of(asked, "number")
    assert form["number"] == ["1"]
    assert admin_client.post(url, form | {"tags": ["new"], "apply": ["1"]}).status_code == 302
    assert ReflectionRow.objects.get(id=name).tags == ["new"]
    assert ReflectionRow.objects.get(id="ab").tags == []


def _former(name: str) -> str:
    return reverse("admin:te_reflectionrow_change", args=[quote(name)])


@pytest.mark.slow
def test_an_address_of_an_earlier_version_leads_on_where_one_user_has_the_id(admin_client: Client) -> None:
    SqlStore(TE).put([ReflectionFactory(id=name) for name in IDS])
    for name in IDS:
        assert admin_client.get(_former(name)).context["original"].id == name
    SqlStore(TE).put([ReflectionFactory(id=name, user_id="bo") for name in IDS])
    assert {admin_client.get(_former(name)).status_code for name in IDS} == {302}  # there is no such row


def test_dots_do_not_lead_to_another_row(admin_client: Client) -> None:
    SqlStore(TE).put([ReflectionFactory(id=one) for one in (".", "_2E", "_2E_2E", "..")])
    links = [_former(one) for one in (".", "_2E", "_2E_2E", "..")]
    assert len(set(links)) == 4
    for name, link in zip((".", "_2E", "_2E_2E", ".."), links, strict=True):
        assert admin_client.get(link).context["original"].id == name


def test_a_user_may_be_two_dots(admin_client: Client) -> None:
    ActiveModeRow(user_id="..", mode_id="mars").save()
    listed = admin_client.get(reverse("admin:luna_activemoderow_changelist"))
    shown = _answer(admin_client, listed, link_of(listed, "_2E_2E/change/"))
    assert shown.context["original"].user_id == ".."
    assert _answer(admin_client, shown, link_of(shown, "/history/$")).status_code in (200, 404)


def test_the_old_address_of_a_row_leads_to_it(admin_client: Client) -> None:
    SqlStore(TE).put([ReflectionFactory(id="..")])
    answer = admin_client.get("/admin/te/reflectionrow/_2E_2E/")
    assert answer.headers["Location"] == _former("..")


def test_each_key_has_one_address_and_each_address_one_key() -> None:
    ids = [one for one in (*IDS, *naughty_strings()) if one]
    keys = [(one,) for one in ids] + [(one, "mars") for one in ids] + [("mars", one) for one in ids]
    assert [key_of(quoted(key)) for key in keys] == keys
    assert len({quoted(key) for key in keys}) == len(set(keys))
    assert reverse("admin:record_history", args=["luna", "active_modes", ActiveMode(user_id="..", mode_id="x").key])
    assert reverse("admin:record_history", args=["te", "reflections", quoted(Reflection.key_fields)])
