"""What a policy would remove, before it removes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.axe import check_access

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.site import Site

pytestmark = pytest.mark.slow


def test_a_policy_tells_what_it_would_remove(site: Site, operator: Page) -> None:
    page = operator
    page.goto(site.url("admin:orbsite_retentionpolicy_add"))
    page.get_by_label("Name").fill("a month of memories")
    page.get_by_label("Domain").select_option("te")
    page.get_by_label("Remove after").fill("20")
    page.get_by_label("Enabled").uncheck()
    old = "created_at < datetime('now', '-20 days')"
    gone = site.rows(f"SELECT count(*) AS number FROM te_reflections WHERE {old}")[0]["number"]
    page.get_by_text(f"Today it would remove {gone:,} of").wait_for()
    page.get_by_text("Remove reflections that are older than 20 days. Keep all others.").wait_for()
    check_access(page)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("was added successfully").wait_for()
    before = site.rows("SELECT count(*) AS number FROM te_reflections")

    page.goto(site.url("admin:operation", "preview"))
    page.get_by_label("Policy").select_option(label="a month of memories (te, sql)")
    page.get_by_role("button", name="Start").click()
    heading = page.get_by_role("heading", name="Preview of the result", exact=True)
    heading.or_(page.get_by_role("heading", name="Result", exact=True)).wait_for()
    told = page.get_by_text("would go", exact=True).locator("xpath=following-sibling::dd")
    assert int(told.inner_text()) == gone
    page.get_by_text("day-29-0").wait_for()
    check_access(page)
    assert site.rows("SELECT count(*) AS number FROM te_reflections") == before
