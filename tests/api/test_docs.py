"""The pages of the API: for staff who are signed in, and from our own static files alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from csp.decorators import csp_replace
from django.http import HttpResponse
from django.test import Client

from orbsite.storage.clock import utc_now
from orbsite.web.middleware import ContentSecurityPolicy

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("page", ["/api/docs", "/api/schema"])
def test_the_pages_are_for_staff_who_are_signed_in(
    client: Client, admin_client: Client, django_user_model: Any, page: str
) -> None:
    assert client.get(page).status_code in (401, 403)
    client.force_login(django_user_model.objects.create_user("no-staff"))
    assert client.get(page).status_code == 403
    assert admin_client.get(page).status_code == 200
    assert admin_client.post(page).status_code in (403, 405)


def test_the_page_needs_nothing_inline_and_nothing_from_elsewhere(admin_client: Client) -> None:
    page = admin_client.get("/api/docs")
    text = page.content.decode()
    assert page["Content-Type"].startswith("text/html")
    assert "<script>" not in text
    assert "<style" not in text
    assert "style=" not in text
    assert "://" not in text
    assert "script-src 'self'" in page["Content-Security-Policy"]
    script = admin_client.get("/api/docs?script=")
    assert script["Content-Type"] == "application/javascript"
    assert b"/api/schema" in script.content


def test_the_document_can_be_read_by_the_page(admin_client: Client) -> None:
    assert admin_client.get("/api/schema").json()["openapi"].startswith("3.1")


@pytest.mark.parametrize("page", ["/api/docs", "/api/schema"])
def test_a_session_that_is_over_in_the_admin_opens_neither(admin_client: Client, page: str) -> None:
    session: Any = admin_client.session
    session["orb_confirmed_at"] = (utc_now() - timedelta(hours=9)).isoformat()
    session.save()
    assert admin_client.get(page).status_code == 403


def test_the_policy_is_the_same_for_all_but_those_who_ask_for_their_own(rf: Any) -> None:
    @csp_replace({"script-src": ["'none'"]})
    def own(_: Any) -> HttpResponse:
        return HttpResponse()

    answers = {view: ContentSecurityPolicy(view)(rf.get("/")) for view in (own, lambda _: HttpResponse())}
    theirs, usual = [answer["Content-Security-Policy"] for answer in answers.values()]
    assert "script-src 'none'" in theirs
    assert "script-src 'self'" in usual
    policy = ContentSecurityPolicy(lambda request: HttpResponse() if request.path == "/" else own(request))
    assert [policy(rf.get(path))["Content-Security-Policy"] for path in ("/", "/own", "/")] == [usual, theirs, usual]
