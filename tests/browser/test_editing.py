"""Memory looked through and put right: a search, a session that is read, a profile that is edited and put back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.axe import check_access

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.site import Site

pytestmark = pytest.mark.slow
ADDED = "call me <b>Captain</b>"


def _profile(site: Site, mode: str) -> dict[str, Any]:
    row = site.rows("SELECT * FROM luna_profiles WHERE user_id = 'ana-0' AND mode_id = ?", mode)[0]
    return row | {name: json.loads(row[name]) for name in ("preferences", "constraints")}


def test_a_profile_is_edited_as_lists_and_put_back(site: Site, operator: Page) -> None:
    page, before = operator, _profile(site, "mars")
    _, second, *others = before["preferences"]
    page.goto(site.url("admin:luna_profilerow_change", before["id"]))
    check_access(page)
    page.get_by_role("button", name="Add preference").click()
    page.keyboard.type(ADDED)
    page.keyboard.press("Tab")
    rows = page.locator("[data-orb-list=preferences] .orb-row")
    rows.last.get_by_role("button", name="Up").click()
    rows.first.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("was changed successfully").wait_for()
    after = _profile(site, "mars")
    assert after["preferences"] == [second, *others[:-1], ADDED, *others[-1:]]
    assert after["constraints"] == before["constraints"]

    page.goto(site.url("admin:luna_profilerow_change", before["id"]))
    page.get_by_role("link", name="History").click()
    page.get_by_text(ADDED).first.wait_for()
    page.get_by_text("operator").first.wait_for()
    check_access(page)
    page.get_by_role("button", name="Restore the version before this change").first.click()
    page.get_by_text("The version before the change was restored").wait_for()
    assert _profile(site, "mars")["preferences"] == before["preferences"]


def test_a_profile_is_edited_without_a_script(site: Site, visit: Any) -> None:
    page, before = visit("operator", java_script_enabled=False), _profile(site, "earth")
    page.goto(site.url("admin:luna_profilerow_change", before["id"]))
    empty = page.locator("[data-orb-list=preferences] .orb-empty").first
    empty.locator("input[type=text], textarea").first.fill(ADDED)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("was changed successfully").wait_for()
    assert _profile(site, "earth")["preferences"] == [*before["preferences"], ADDED]


def test_a_profile_goes_back_to_its_preset(site: Site, operator: Page) -> None:
    page = operator
    row = _profile(site, "default")
    page.goto(site.url("admin:luna_profilerow_change", row["id"]))
    page.get_by_role("link", name="Reset to preset").click()
    check_access(page)
    page.get_by_role("button", name="Reset to preset").click()
    page.get_by_text("The record was reset to its preset").wait_for()
    assert _profile(site, "default")["preferences"] != row["preferences"]


def test_what_was_said_is_found_and_read_in_its_session(site: Site, viewer: Page, shoot: Any) -> None:
    page = viewer
    page.goto(site.url("admin:te_reflectionrow_changelist"))
    page.get_by_label("Search texts, or a complete id").fill('"tea house" -thursday KYÓTO')
    page.get_by_role("button", name="Search").click()
    page.get_by_role("textbox", name="User").fill("mira")
    page.get_by_role("button", name="Search").click()
    check_access(page)
    page.get_by_role("link", name="holiday in Kyoto").first.click()
    turns = page.locator("article.orb-turn")
    assert turns.count() == 5
    assert "What is on my list for Kyoto?" in turns.first.inner_text()
    assert "blue folder" in turns.nth(3).inner_text()
    check_access(page)
    shoot(page, "session")


def test_notes_and_tags_are_edited(site: Site, operator: Page) -> None:
    page = operator
    page.goto(site.url("admin:te_reflectionrow_change", "kyoto-2"))
    assert page.get_by_label("Input").count() == 0 or page.get_by_label("Input").is_disabled()
    page.get_by_label("Notes").fill("checked by hand")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("was changed successfully").wait_for()
    assert site.rows("SELECT notes FROM te_reflections WHERE id = 'kyoto-2'") == [{"notes": "checked by hand"}]
