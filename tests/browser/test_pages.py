"""Every page that a link leads to, as each of the people sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.axe import check_access
from tests.browser.crawl import crawl
from tests.browser.site import PASSWORD

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.site import Site


def test_every_link_leads_a_viewer_to_a_page(site: Site, visit: Any) -> None:
    found = crawl(visit("viewer"), site.url("admin:index"))
    assert set(found.values()) == {200}, {address: status for address, status in found.items() if status != 200}
    assert len(found) > 30


def test_pages_of_other_packages_keep_to_the_same_policy(site: Site, admin: Page) -> None:
    found = crawl(admin, site.url("admin:index"), theirs=True)
    assert set(found.values()) == {200}
    assert len(found) > 10


def test_somebody_signs_in_and_out(site: Site, visit: Any) -> None:
    page: Page = visit()
    page.goto(site.url("admin:index"))
    check_access(page)
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(site.url("admin:index"))
    page.get_by_role("button", name="Log out").click()
    page.get_by_text("Thanks for spending some quality time").wait_for()
