"""Rows that are chosen in a list: tagged, removed, found among what was removed, and brought back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.axe import check_access

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.site import Site

pytestmark = pytest.mark.slow


def _act(page: Page, action: str) -> None:
    for box in page.locator("input.action-select").all()[:3]:
        box.check()
    page.locator("select[name=action]").select_option(action)
    page.locator("button[name=index]").first.click()


def test_reflections_are_tagged_removed_and_brought_back(site: Site, operator: Page) -> None:
    page, before = operator, site.rows("SELECT COUNT(*) AS number FROM te_reflections")
    page.goto(site.url("admin:te_reflectionrow_changelist"))
    _act(page, "tag")
    check_access(page)
    page.get_by_label("Tags").fill("one\ntwo")
    page.get_by_label("Reason").fill("sorting")
    page.get_by_role("button", name="Add tags").click()
    page.get_by_text("Changed 3 records").wait_for()
    _act(page, "delete_selected")
    page.get_by_role("button", name="Remove").click()
    page.get_by_text("Removed 3 records").wait_for()
    page.get_by_role("link", name="Removed records").click()
    check_access(page)
    page.get_by_role("link", name="3 reflections of te").first.click()
    check_access(page)
    page.locator("a[href*=tombstone]").first.click()
    check_access(page)
    page.get_by_role("button", name="Restore the record").click()
    page.get_by_text("The version before the change was restored").wait_for()
    check_access(page)
    page.go_back()
    page.go_back()
    page.reload()
    for box in page.locator("input[name=tombstone]").all():
        box.check()
    page.get_by_role("button", name="Restore selected records").click()
    page.get_by_text("Restored 2 records").wait_for()
    assert site.rows("SELECT COUNT(*) AS number FROM te_reflections") == before
