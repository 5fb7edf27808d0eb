"""Memory looked through and put right: a search, a session that is read, a profile that is edited and put back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.axe import check_access
from tests.browser.keyboard import press_on

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
    page.get_by_label("Add preference").click()
    page.keyboard.type(ADDED)
    page.keyboard.press("Enter")
    rows = page.locator("[data-orb-list=preferences] .orb-row:visible")
    rows.last.locator(".orb-chip-text").click()
    rows.last.get_by_role("button", name="Earlier").click()
    page.get_by_role("button", name="Done").click()
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


ODD = ["travel", "a, b", "x\ny", "", "twice", "twice", " two  blanks ", *(f"tag {number}" for number in range(13))]
PASTE = """(box, text) => {
  const data = new DataTransfer();
  data.setData("text", text);
  box.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
}"""


def _tags(site: Site) -> list[str]:
    found: list[str] = json.loads(site.rows("SELECT tags FROM te_reflections WHERE id = 'kyoto-2'")[0]["tags"])
    return found


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_twenty_tags_are_edited_by_keyboard(site: Site, operator: Page, width: int, height: int) -> None:
    page, address = operator, site.url("admin:te_reflectionrow_change", "kyoto-2")
    page.set_viewport_size({"width": width, "height": height})
    page.goto(address)
    page.get_by_text("Edit as JSON").click()
    page.get_by_label("tags as JSON").fill(json.dumps(ODD))
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("was changed successfully").wait_for()
    assert _tags(site) == ODD

    page.goto(address)
    box, chips = page.get_by_label("Add tag"), page.locator("[data-orb-list=tags] .orb-chip-text:visible")
    status = page.locator("[data-orb-list=tags] .orb-status")
    assert chips.count() == 20
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if width == 1280:  # all of them and the box are in sight
        assert all(one.evaluate("(one) => one.getBoundingClientRect().bottom <= innerHeight") for one in chips.all())
        assert box.evaluate("(one) => one.getBoundingClientRect().bottom <= innerHeight && scrollY === 0")
    press_on(page, box, "n")
    page.keyboard.type("ew one")
    page.keyboard.press("Enter")
    assert status.inner_text() == "“new one” was added."
    page.keyboard.type("left, right,twice,")
    assert status.inner_text() == "“twice” is there already."
    box.evaluate(PASTE, "p1\r\np2, with a comma\n\ntravel")
    assert status.inner_text() == "2 tags were added. 1 was there already."
    page.keyboard.press("Backspace")
    assert status.inner_text() == "“p2, with a comma” is selected."
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Backspace")
    assert status.inner_text() == "“p1” was removed."
    page.keyboard.press("Alt+ArrowLeft")
    assert status.inner_text() == "“p2, with a comma” is now 23 of 24."
    page.keyboard.press("Enter")  # edits it
    page.keyboard.press("End")
    page.keyboard.type("!")
    page.keyboard.press("Enter")
    check_access(page)
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    page.keyboard.type("not yet added")
    press_on(page, page.get_by_role("button", name="Save", exact=True), "Enter")
    page.get_by_text("was changed successfully").wait_for()
    assert _tags(site) == [*ODD, "new one", "left", "p2, with a comma!", "right", "not yet added"]


def test_chips_are_removed_restored_and_emptied(site: Site, operator: Page) -> None:
    page = operator
    page.goto(site.url("admin:te_reflectionrow_change", "kyoto-4"))
    before = ["travel", "planning"]
    chips = page.locator("[data-orb-list=tags] .orb-chip-text:visible")
    assert chips.all_inner_texts() == before
    page.get_by_role("button", name="Remove travel").click()
    page.get_by_role("button", name="Remove planning").click()
    assert chips.count() == 0
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Undo").click()
    assert chips.all_inner_texts() == before
    assert page.get_by_role("button", name="Undo").count() == 0
    page.keyboard.press("Enter")  # edits the restored one
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    assert page.locator("[data-orb-list=tags] .orb-status").inner_text() == "“travel” was removed."
    page.keyboard.press("Enter")
    page.keyboard.type("changed and dropped")
    page.keyboard.press("Escape")
    assert chips.all_inner_texts() == ["planning"]
    page.get_by_label("Add tag").evaluate(PASTE, "\n".join(f"many {number}" for number in range(600)))
    assert "edit a list of more than 500 as JSON" in page.locator("[data-orb-list=tags] .orb-status").inner_text()
    assert chips.count() == 499  # and the one that was removed


def test_constraints_have_details_and_suggest_what_is_in_use(site: Site, operator: Page) -> None:
    page, before = operator, _profile(site, "mars")
    page.goto(site.url("admin:luna_profilerow_change", before["id"]))
    row = page.locator("[data-orb-list=constraints] .orb-row").first
    assert not row.get_by_label("Max risk").is_visible()
    row.locator("summary").click()
    row.get_by_label("Max risk").fill("high")
    check_access(page)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("was changed successfully").wait_for()
    assert _profile(site, "mars")["constraints"][0] == before["constraints"][0] | {"maxRisk": "high"}
    page.goto(site.url("admin:luna_profilerow_change", before["id"]))
    assert "max risk high" in row.locator("summary").inner_text()
    options = "(input) => [...input.list.options].map((one) => one.value)"
    assert "high" in row.get_by_label("Max risk").evaluate(options)
    assert "other" in row.get_by_label("Type").evaluate(options)


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
