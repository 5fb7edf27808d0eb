"""Who may do what, as a browser sees it: the second factor, the password again, a viewer, a token that is revoked."""

from __future__ import annotations

import re
import time
import urllib.request
from base64 import b32decode
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
from django_otp.oath import TOTP

from tests.browser.axe import check_access
from tests.browser.site import PASSWORD
from tests.support.time_limits import time_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.browser.site import Prepared, Site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def strict(begin: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that asks for a second factor."""
    with begin.running(tmp_path_factory.mktemp("strict"), ORB_ADMIN_2FA="true") as site:
        yield site


def sign_in(page: Page, name: str) -> None:
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def test_a_code_is_asked_for_beside_the_password(strict: Site, visit: Any) -> None:
    page: Page = visit(on=strict)
    page.goto(strict.url("admin:te_reflectionrow_changelist"))
    sign_in(page, "operator")
    page.get_by_role("button", name="Set up authenticator app").click()
    shown = page.get_by_text("Secret:").locator("code").inner_text()
    authenticator = TOTP(b32decode(shown.replace(" ", "")), drift=0)
    check_access(page)
    page.get_by_label("Code").fill(_code(authenticator))
    used = authenticator.t()
    page.get_by_role("button", name="Verify code").click()
    page.wait_for_url(f"**{strict.url('admin:te_reflectionrow_changelist')}")

    page.get_by_role("button", name="Log out").click()
    page.goto(strict.url("admin:index"))
    sign_in(page, "operator")
    page.goto(strict.url("admin:te_reflectionrow_changelist"))
    assert "/second/" in page.url
    page.get_by_label("Code").fill(_code(authenticator, after=used))
    page.get_by_role("button", name="Verify code").click()
    page.wait_for_url(f"**{strict.url('admin:te_reflectionrow_changelist')}")


def _code(authenticator: TOTP, after: int = 0) -> str:
    """Return the code of now, or that of the step after the given one if this is later.

    The site takes a code that came late for a clock that is behind, and refuses the following one from then on.
    """
    authenticator.time = time.time()
    authenticator.drift = max(after + 1 - authenticator.t(), 0)
    return f"{authenticator.token():06d}"


def confirm(page: Page, password: str) -> None:
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Confirm").click()


def status_of(site: Site, token: str) -> int:
    asked = urllib.request.Request(
        f"{site.address}/api/v1/users/mira/profiles", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=time_limit(30)) as answer:
            return answer.status
    except HTTPError as refusal:
        with refusal:
            return refusal.code


def test_a_token_lets_somebody_in_until_it_is_revoked(site: Site, visit: Any) -> None:
    page: Page = visit(session=site.make("signed_in", "admin", 6))
    before = site.rows("SELECT max(id) AS last FROM orb_audit")[0]["last"]
    page.goto(site.url("admin:orbsite_token_add"))
    confirm(page, "wrong")
    page.get_by_text("The entry is wrong").wait_for()
    check_access(page)
    confirm(page, PASSWORD)
    page.wait_for_url(f"**{site.url('admin:orbsite_token_add')}")
    page.get_by_label("Name").fill("for a walk")
    page.get_by_label("Add scope").fill("read")
    check_access(page)
    page.get_by_label("Every user").check()
    page.get_by_role("button", name="Save", exact=True).click()
    token = page.locator("#content code").inner_text()
    assert status_of(site, token) == 200

    page.goto(site.url("admin:orbsite_token_changelist"))
    page.get_by_role("row", name="for a walk").get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option(label="Revoke selected tokens")
    page.get_by_role("button", name=re.compile("Go|Run")).click()
    page.get_by_text("no longer accepted").wait_for()
    assert status_of(site, token) == 401
    acts = [row["act"] for row in site.rows("SELECT act FROM orb_audit WHERE id > ? ORDER BY id", before)]
    assert acts == ["confirm failed", "confirm", "token made", "tokens revoked"]
    assert token not in str(site.rows("SELECT * FROM orb_audit"))


def test_a_viewer_sees_and_changes_nothing(site: Site, viewer: Page) -> None:
    page, key = viewer, "kyoto-0"
    before = site.rows("SELECT * FROM te_reflections ORDER BY id")
    page.goto(site.url("admin:te_reflectionrow_changelist", q=key))
    page.get_by_role("link", name=key).click()
    page.get_by_text("The tea house to book").first.wait_for(state="attached")
    assert page.get_by_role("button", name=re.compile("Save|Delete")).count() == 0
    address = page.url
    cookie = next(one for one in page.context.cookies() if one["name"] == "csrftoken")
    form = {"csrfmiddlewaretoken": cookie["value"], "input": "mine", "output": "mine", "tags": "[]"}
    answer = page.request.post(address, form=form, headers={"Referer": address})
    assert answer.status in (403, 404)
    for name in ("migrate", "erase", "export"):
        assert page.goto(site.url("admin:operation", name)).status == 404
    for name in ("orbsite_token_changelist", "orbsite_event_changelist", "auth_user_changelist"):
        assert page.goto(site.url(f"admin:{name}")).status in (403, 404), name
    assert site.rows("SELECT * FROM te_reflections ORDER BY id") == before


def test_whoever_has_no_rights_is_told_nothing(site: Site, visit: Any) -> None:
    page = visit("nobody", allow="404|403")
    page.goto(site.url("admin:index"))
    assert "kyoto" not in page.content()
    assert page.get_by_role("link", name="Operations").count() == 0
    for name in ("operations", "te_reflectionrow_changelist", "luna_profilerow_changelist", "orbsite_job_changelist"):
        assert page.goto(site.url(f"admin:{name}")).status == 404, name
