"""Keyboard shortcuts lead to pages and to the search, tell themselves, and keep out of fields; rows can be compact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.axe import check_access

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.site import Site

pytestmark = pytest.mark.slow
_ROW = "() => document.querySelector('#result_list tbody tr').getBoundingClientRect().height"


def test_shortcuts_lead_to_pages_and_to_the_search(site: Site, viewer: Page) -> None:
    page = viewer
    page.goto(site.url("admin:index"))
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keyboard shortcuts")
    sheet.wait_for()
    check_access(page)
    page.keyboard.press("g")
    page.keyboard.press("r")  # the sheet is open: nothing happens
    page.keyboard.press("Escape")
    sheet.wait_for(state="hidden")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url(site.url("admin:te_reflectionrow_changelist"))
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "searchbar"
    page.keyboard.type("g r ? c /")
    assert page.locator("#searchbar").input_value() == "g r ? c /"
    assert page.get_by_role("dialog").count() == 0
    assert page.locator("html").get_attribute("data-density") == "comfortable"


def test_the_density_is_remembered(site: Site, viewer: Page) -> None:
    page = viewer
    page.goto(site.url("admin:te_reflectionrow_changelist"))
    before = page.evaluate(_ROW)
    page.get_by_role("button", name="Shortcuts").click()
    page.get_by_label("Compact").check()
    page.get_by_role("button", name="Close").click()
    assert page.evaluate(_ROW) < before
    page.goto(site.url("admin:orbsite_run_changelist"))
    assert page.locator("html").get_attribute("data-density") == "compact"
    check_access(page)
    page.keyboard.press("c")
    assert page.locator("html").get_attribute("data-density") == "comfortable"
