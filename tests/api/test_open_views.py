"""Every way in, as it is put together: who is let in, what is read and answered, and what browsers may do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from rest_framework.settings import api_settings

from luna.domain import DOMAIN as LUNA
from orbsite.api.authentication import TokenAuthentication
from orbsite.api.operations import OFFERED
from orbsite.api.permissions import TokenMay
from orbsite.api.renderers import JSONRenderer
from orbsite.api.throttling import TokenThrottle
from orbsite.api.urls import DocsView, SchemaView
from orbsite.api.views import OrbView
from orbsite.models.api_tokens import SCOPES
from orbsite.models.jobs import Job
from orbsite.stores import open_store
from orbsite.web import health
from tests.api.conftest import Caller, make_token, refused
from tests.support.factories import ProfileFactory

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/users/ana/profiles"
BODY = {"preferences": [], "constraints": []}
FOR_STAFF = {SchemaView, DocsView}
FOR_EVERYBODY = {health.live, health.ready}


def _views(patterns: Any) -> Iterator[Any]:
    for one in patterns:
        if isinstance(one, URLResolver):
            yield from () if one.app_name == "admin" else _views(one.url_patterns)
        elif isinstance(one, URLPattern) and str(one.pattern):
            yield getattr(one.callback, "cls", one.callback)


def test_every_view_lets_tokens_in_alone_reads_json_strictly_and_answers_json() -> None:
    views = set(_views(get_resolver().url_patterns))
    assert views > FOR_STAFF | FOR_EVERYBODY
    ours = views - FOR_STAFF - FOR_EVERYBODY
    assert len(ours) > 20
    for view in ours:
        assert issubclass(view, OrbView)
        assert view.authentication_classes == (TokenAuthentication,)
        assert view.permission_classes == (TokenMay,)
        assert view.throttle_classes == (TokenThrottle,)
        assert view.parser_classes == OrbView.parser_classes
        assert all(issubclass(one, JSONRenderer) for one in view.renderer_classes)
        assert set(view.scopes.values()) <= set(SCOPES), "a method without a scope is for nobody"
        assert view.metadata_class is None
        assert set(view.parameters) <= {"limit", "cursor", "session", "tag", "from", "to", "text", "search"}


def test_a_view_that_says_nothing_is_for_tokens_alone() -> None:
    assert list(api_settings.DEFAULT_AUTHENTICATION_CLASSES) == [TokenAuthentication]
    assert list(api_settings.DEFAULT_PERMISSION_CLASSES) == [TokenMay]
    assert list(api_settings.DEFAULT_RENDERER_CLASSES) == [JSONRenderer]
    assert api_settings.URL_FORMAT_OVERRIDE is None
    assert settings.DEBUG is False


@pytest.mark.parametrize("name", OFFERED)
def test_a_job_has_what_was_asked_for_and_nothing_that_is_ours_to_say(admin: Caller, name: str) -> None:
    columns = {field.attname: 7 for field in Job._meta.concrete_fields} | {"dataDir": "/", "to": "/", "path": "/"}
    del columns["operation"]
    body = {"run": 1} | columns
    told = refused(admin.post(f"/api/v1/operations/{name}", body), 400, "invalid")
    assert len(told["errors"]) >= len(columns)
    assert not Job.objects.exists()


@pytest.fixture
def browser() -> Client:
    """A browser in which somebody is signed in who may do everything."""
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root"))
    return client


ELSEWHERE = {"Origin": "https://evil.example", "Referer": "https://evil.example/", "Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_a_page_elsewhere_can_do_nothing_with_the_session_of_a_browser(browser: Client, kind: str) -> None:
    for method, path in (("POST", ADDRESS), ("PUT", f"{ADDRESS}/mars"), ("DELETE", "/api/v1/users/ana"),
                         ("POST", "/api/v1/operations/validate"), ("GET", ADDRESS), ("GET", "/metrics")):  # fmt: skip
        answer = browser.generic(method, path, b"{}", content_type=kind, headers=ELSEWHERE)
        assert answer.status_code == 401, (method, path)
        assert not [name for name in answer.headers if name.startswith("Access-Control-")]
    for page in ("/api/docs", "/api/schema"):
        assert browser.post(page, {}, headers=ELSEWHERE).status_code in (403, 405)
    form = {"operation": "validate", "arguments": "{}"}
    for name in ("orbsite_job_add", "orbsite_token_add", "luna_profilerow_add"):
        assert browser.post(reverse(f"admin:{name}"), form, headers=ELSEWHERE).status_code == 403
    assert browser.post(reverse("admin:logout"), headers=ELSEWHERE).status_code == 403
    assert not Job.objects.exists()


def test_the_session_of_a_browser_writes_with_the_key_of_its_form(browser: Client) -> None:
    page = reverse("admin:orbsite_token_add")
    form = {"name": "x", "scopes": '["read"]', "users": "[]", "expires_at_0": "", "expires_at_1": ""}
    key = browser.get(page).context["csrf_token"]
    assert browser.post(page, form | {"csrfmiddlewaretoken": str(key)}).status_code == 200
    assert browser.post(page, form).status_code == 403


def test_who_sends_a_token_is_that_token_whatever_cookies_come_along(browser: Client) -> None:
    mine = {"Authorization": f"Bearer {make_token('read', users=['ana'])}"}
    assert browser.get(ADDRESS, headers=mine).status_code == 200
    sent = browser.put(f"{ADDRESS}/mars", BODY, content_type="application/json", headers=mine)
    refused(sent, 403, "forbidden")
    refused(browser.get("/api/v1/users/bo/profiles", headers=mine), 404)
    writer = {"Authorization": f"Bearer {make_token('write', users=['ana'])}"}
    sent = browser.put(f"{ADDRESS}/mars", BODY, content_type="application/json", headers=writer | ELSEWHERE)
    assert sent.status_code == 201
    assert "Set-Cookie" not in sent
    assert not sent.cookies


def test_no_other_site_is_told_that_it_may_ask(nobody: Caller, ana: Caller) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    for path in (ADDRESS, "/metrics", "/api/schema", "/livez", "/admin/login/", "/"):
        answers = [nobody("OPTIONS", path, **asked), nobody.get(path, **asked), ana.get(path, **asked)]
        for answer in answers:
            assert not [name for name in answer.headers if name.startswith("Access-Control-")], path
    refused(nobody("OPTIONS", ADDRESS, **asked), 405)


LISTS = ("luna_profilerow", "te_reflectionrow", "orbsite_token", "orbsite_job",
         "orbsite_retentionpolicy", "orbsite_run", "orbsite_change", "orbsite_reject", "orbsite_event")  # fmt: skip


@pytest.mark.parametrize("query", ["digest__startswith=0", "digest=0", "extra__contains=x", "input__regex=x",
                                   "user__password__startswith=a", "before__contains=x", "original__contains=x",
                                   "claimed_by=x", "arguments__contains=x", "facts__contains=x"])  # fmt: skip
def test_the_lists_of_the_admin_are_filtered_by_what_they_offer_alone(admin_client: Client, query: str) -> None:
    for name in LISTS:
        assert admin_client.get(f"{reverse(f'admin:{name}_changelist')}?{query}").status_code == 400, name


@pytest.mark.parametrize("order", ["digest", "-1.digest", "user__password", "99", "1;DROP TABLE x"])
def test_the_lists_of_the_admin_are_ordered_by_their_columns_alone(admin_client: Client, order: str) -> None:
    for name in LISTS:
        page = admin_client.get(reverse(f"admin:{name}_changelist"), {"o": order})
        assert page.status_code == 200
        assert "digest" not in str(page.context["cl"].queryset.query).partition("ORDER BY")[2]
        assert "password" not in str(page.context["cl"].queryset.query)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("luna_profilerow", "mode_id=mars&user_id__exact=ana"),
        ("te_reflectionrow", "session_id=s&created_at__lt=2024-01-01T00:00:00Z"),
        ("orbsite_run", "operation__exact=migrate&state=done"),
        ("orbsite_reject", "settled_by__isempty=1&domain=te"),
        ("orbsite_growth", "day__gte=2024-01-01&domain=te"),
        ("orbsite_policyrun", "policy__id__exact=1"),
        ("orbsite_token", "every_user__exact=1&revoked_at__isnull=True"),
        ("orbsite_event", "act=export"),
    ],
)
def test_the_filters_that_are_offered_work(admin_client: Client, name: str, query: str) -> None:
    assert admin_client.get(f"{reverse(f'admin:{name}_changelist')}?{query}").status_code == 200


def test_a_page_has_a_hundred_items_at_most_whatever_is_asked(ana: Caller) -> None:
    open_store(LUNA).put([ProfileFactory(mode_id=f"m{number}") for number in range(150)])
    for query in ("", "?limit=100"):
        assert len(ana.get(f"{ADDRESS}{query}").json()["items"]) == 100
    for query in ("?limit=101", "?limit=1000", "?page_size=150", "?limit=all"):
        refused(ana.get(f"{ADDRESS}{query}"), 400)
