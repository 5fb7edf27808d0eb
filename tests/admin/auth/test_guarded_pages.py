"""Whatever is sent to a page about who gets in asks for the password first, and so do exports of many records."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import NoReverseMatch, clear_url_caches, reverse
from django_otp.plugins.otp_totp.models import TOTPDevice

import orbsite.urls
from orbsite.admin.auth import reauthentication
from orbsite.models.api_tokens import Token
from orbsite.models.audit_log import Event
from orbsite.models.jobs import Job
from orbsite.storage.clock import utc_now
from orbsite.stores import open_sql_store
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from tests.admin.starting import confirm, forget
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db
OF_THE_PROJECT = {"luna", "te", "mav", "orbsite"}


@pytest.fixture
def root(client: Client) -> Client:
    """Somebody who may do everything, and told the password a quarter of an hour ago."""
    client.force_login(User.objects.create_superuser("root", password="open sesame"))
    forget(client)
    Event.objects.all().delete()
    return client


def _guarded() -> list[type[Any]]:
    return [model for model in admin.site._registry if reauthentication.guards(model)]


def _pages(model: type[Any]) -> Iterator[str]:
    """Yield the address of each page that the site has for a model."""
    for pattern in admin.site._registry[model].get_urls():
        if pattern.name is None:
            continue
        arguments = ["1"] * len(pattern.pattern.regex.groupindex or pattern.pattern.converters)
        try:
            yield reverse(f"admin:{pattern.name}", args=arguments)
        except NoReverseMatch as problem:
            raise AssertionError(pattern.name) from problem


def test_the_models_of_other_apps_and_the_tokens_are_guarded() -> None:
    guarded = {model._meta.label for model in _guarded()}
    assert {"auth.User", "auth.Group", "orbsite.Token", "axes.AccessAttempt", "axes.AccessLog"} <= guarded
    others = {model._meta.label for model in apps.get_models() if model._meta.app_label not in OF_THE_PROJECT}
    assert {model._meta.label for model in apps.get_models() if reauthentication.guards(model)} == others | {
        "orbsite.Token"
    }


def test_whatever_is_sent_to_a_guarded_page_asks_for_the_password(root: Client) -> None:
    tried = [page for model in _guarded() for page in _pages(model)]
    assert len(tried) > 20
    assert reverse("admin:auth_user_delete", args=["1"]) in tried
    for page in tried:
        for method in ("post", "put", "patch", "delete"):
            answer = getattr(root, method)(page, {"post": "yes"} if method == "post" else None)
            assert answer.status_code in (302, 405), (method, page)
            if method == "post":
                assert answer.url.startswith(reverse("admin:console_again")), (method, page)
    assert User.objects.filter(username="root").exists()
    assert not Event.objects.exists()


@pytest.mark.parametrize("model", [TOTPDevice, Session, Permission])
def test_a_page_that_is_added_later_is_guarded_without_anything_more(root: Client, model: type[Any]) -> None:
    admin.site.register(model)
    try:
        _reload()
        for page in _pages(model):
            assert root.post(page, {"post": "yes"}).url.startswith(reverse("admin:console_again")), page
    finally:
        admin.site.unregister(model)
        _reload()


def _reload() -> None:
    clear_url_caches()
    importlib.reload(orbsite.urls)


@pytest.mark.parametrize("name", ["delete_selected", "revoke", "none_such", ""])
@pytest.mark.parametrize("across", ["0", "1"])
def test_no_action_on_people_groups_tokens_or_lock_outs_goes_without_it(root: Client, name: str, across: str) -> None:
    user, group = User.objects.create_user("eve"), Group.objects.create(name="readers")
    token = Token.objects.create(name="t", prefix="00000000", digest="0" * 64, scopes=["read"], created_at=utc_now())
    attempt = AccessAttempt.objects.create(username="eve", ip_address="192.0.2.1", failures_since_start=3,
                                           attempt_time=utc_now())  # fmt: skip
    for row, place in (
        (user, "auth_user"),
        (group, "auth_group"),
        (token, "orbsite_token"),
        (attempt, "axes_accessattempt"),
    ):
        form = {"action": name, "_selected_action": [row.pk], "post": "yes", "select_across": across}
        answer = root.post(reverse(f"admin:{place}_changelist"), form)
        assert answer.url.startswith(reverse("admin:console_again")), place
        row.refresh_from_db()
    assert token.revoked_at is None


def test_who_told_the_password_just_now_removes_somebody(root: Client) -> None:
    eve = User.objects.create_user("eve")
    page = reverse("admin:auth_user_delete", args=[eve.pk])
    assert root.get(page).url.startswith(reverse("admin:console_again"))
    confirm(root)
    assert root.get(page).status_code == 200
    assert root.post(page, {"post": "yes"}).url == reverse("admin:auth_user_changelist")
    assert not User.objects.filter(username="eve").exists()


def test_pages_of_records_and_what_only_looks_ask_nothing(root: Client) -> None:
    for model in _guarded():
        changelist = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        assert root.get(reverse(changelist)).status_code == 200
    form = {"action": "validate", "_selected_action": ["1"]}
    answer = root.post(reverse("admin:te_reflectionrow_changelist"), form)
    assert not answer.get("Location", "").startswith(reverse("admin:console_again"))


@pytest.fixture
def _rows(settings: Any) -> None:
    settings.ORB_PERSISTENCE = "sql"
    open_sql_store(TE).put(ReflectionFactory.build_batch(40, user_id="ana", session_id="many"))
    open_sql_store(TE).put(ReflectionFactory.build_batch(3, user_id="bob", session_id="few"))


def _export(client: Client, number: int, across: str = "0") -> Any:
    keys = ReflectionRow.objects.filter(user_id="ana").values_list("pk", flat=True)
    form = {"action": "export", "_selected_action": list(keys[:number]), "select_across": across}
    return client.post(reverse("admin:te_reflectionrow_changelist"), form)


def _asks(answer: Any) -> bool:
    return answer.status_code == 302 and answer.url.startswith(reverse("admin:console_again"))


@pytest.mark.usefixtures("_rows")
def test_an_export_of_a_whole_list_asks_for_the_password(root: Client) -> None:
    assert _asks(_export(root, 1, across="1"))
    assert _asks(_export(root, 21))
    assert not Event.objects.filter(act="export").exists()
    confirm(root)
    assert _export(root, 1, across="1")["Content-Type"] == "application/json"


@pytest.mark.usefixtures("_rows")
def test_exports_in_portions_are_added_up_until_the_password_is_told(root: Client) -> None:
    assert [_asks(_export(root, 7)) for _ in range(4)] == [False, False, True, True]
    assert not _asks(_export(root, 6))
    assert _asks(_export(root, 1))
    root.post(reverse("admin:console_again"), {"password": "open sesame"})
    forget(root)
    assert not _asks(_export(root, 7))


@pytest.mark.usefixtures("_rows")
@pytest.mark.parametrize(("user", "asked"), [("ana", True), ("bob", False), ("nobody", False)])
def test_an_export_of_a_person_asks_where_it_is_of_many_records(
    root: Client, settings: Any, tmp_path: Any, user: str, *, asked: bool
) -> None:
    settings.ORB_BACKUP_DIR = tmp_path
    answer = root.post(reverse("admin:operation", args=["export"]), {"only": ["luna", "te"], "user": user})
    assert _asks(answer) is asked
    assert Job.objects.exists() is not asked
    if asked:
        job = Job.objects.create(operation="export", arguments={"user": user}, state="done", created_at=utc_now())
        assert _asks(root.post(reverse("admin:job_again", args=[job.pk])))
        assert _asks(root.post(reverse("admin:download", args=[job.pk])))
