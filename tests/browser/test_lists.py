"""Lists of records and the page about a user, as people use them at a desk and on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.axe import check_access
from tests.browser.screens import DESK, PHONE, check_width
from tests.browser.site import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.browser.site import Prepared, Site

pytestmark = pytest.mark.slow
_VISIBLE = """(rows) => rows.filter((row) => {
  const seen = [...row.querySelectorAll("td, th")].map((one) => one.getBoundingClientRect());
  return seen.every((one) => one.right <= innerWidth && one.bottom <= innerHeight && one.width > 0);
}).length"""
_HEIGHTS = "(rows) => Math.max(...rows.map((row) => row.getBoundingClientRect().height))"


@pytest.fixture(scope="module")
def own(begin: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site of its own, for what is erased here is gone."""
    with begin.running(tmp_path_factory.mktemp("lists")) as site, site.worker():
        yield site


def _open(page: Page, site: Site, screen: Any, name: str, *arguments: str) -> None:
    page.set_viewport_size(screen)
    page.goto(site.url(f"admin:{name}", *arguments))


def _rows(page: Page) -> Any:
    return page.locator("#result_list tbody tr")


def test_a_desk_shows_many_rows_with_all_their_columns(site: Site, operator: Page) -> None:
    for name, least in (("te_reflectionrow", 12), ("luna_profilerow", 12)):
        _open(operator, site, DESK, f"{name}_changelist")
        assert _rows(operator).evaluate_all(_VISIBLE) >= least
        assert _rows(operator).evaluate_all(_HEIGHTS) <= 36
    _open(operator, site, DESK, "te_reflectionrow_changelist")
    titles = operator.locator("#result_list thead th").all_inner_texts()
    assert [title.strip().lower() for title in titles if title.strip()] == [
        "created", "user", "session", "input", "output", "tags",
    ]  # fmt: skip


def test_a_reflection_is_found_by_two_words_and_a_tag(site: Site, operator: Page) -> None:
    page = operator
    for screen in (DESK, PHONE):
        _open(page, site, screen, "te_reflectionrow_changelist")
        page.get_by_label("Search texts, or a complete id").fill("tea kyoto")
        page.keyboard.press("Enter")
        page.get_by_text("results.").wait_for()
        found = _rows(page).count()
        page.locator("#facet-tag summary").click()
        check_access(page)
        check_width(page)
        page.locator("#facet-tag").get_by_role("link", name="planning").click()
        page.get_by_role("link", name="Tag: planning").wait_for()
        assert 0 < _rows(page).count() < found
        check_width(page)
        row = _rows(page).filter(has_text="holiday in Kyoto").first
        time = row.locator("time").first
        assert str(time.get_attribute("title")).endswith(" UTC")
        assert time.inner_text().endswith(" ago")
        row.get_by_role("link").first.click()
        page.get_by_label("Notes").wait_for()
        assert "What is on my list for Kyoto?" in page.content()


def test_a_phone_shows_rows_as_cards(site: Site, operator: Page) -> None:
    page = operator
    _open(page, site, PHONE, "te_reflectionrow_changelist")
    check_width(page)
    card = _rows(page).filter(has_text="holiday in Kyoto").first
    assert {"Input", "Output", "Tags"} <= set(
        card.locator("[data-label]").evaluate_all("(all) => all.map((one) => one.dataset.label)")
    )
    boxes = [one.bounding_box() for one in card.locator("[data-label]").all()]
    assert len({round(box["y"]) for box in boxes if box}) == len(boxes)  # one below the other
    page.locator("#action-toggle").check()
    assert page.get_by_text("50 of 50 selected").is_visible()
    for place in (("luna_profilerow_changelist",), ("luna_activemoderow_changelist",), ("user", "mira"), ("users",)):
        _open(page, site, PHONE, *place)
        check_width(page)


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no script"])
def test_columns_are_chosen_and_stay(site: Site, visit: Any, has_script: bool) -> None:
    page: Page = visit("viewer", java_script_enabled=has_script)
    _open(page, site, DESK, "te_reflectionrow_changelist")
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Output", exact=True).uncheck()
    page.get_by_label("Notes", exact=True).check()
    page.get_by_role("button", name="Show these columns").click()
    page.locator("th.column-shown_notes").wait_for()
    assert page.locator("th.column-shown_output").count() == 0
    page.get_by_text("Time", exact=True).click()
    page.get_by_role("link", name="Last 7 days").click()
    page.get_by_role("link", name="From: ").wait_for()
    assert page.locator("th.column-shown_notes").count() == 1
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("button", name="Default").click()
    page.locator("th.column-shown_output").wait_for()


def test_a_list_of_values_is_opened_and_left_by_keyboard(site: Site, operator: Page) -> None:
    page = operator
    _open(page, site, DESK, "te_reflectionrow_changelist")
    summary = page.locator("#facet-session_id summary")
    summary.focus()
    page.keyboard.press("Enter")
    page.locator("#facet-session_id a").first.wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    page.locator("#facet-session_id a").first.wait_for(state="hidden")
    assert summary.evaluate("(one) => one === document.activeElement")


def test_all_rows_of_a_search_are_tagged(own: Site, visit: Any) -> None:
    page: Page = visit("operator", on=own)
    _open(page, own, DESK, "te_reflectionrow_changelist")
    number = own.rows("SELECT count(*) AS number FROM te_reflections")[0]["number"]
    assert number >= 200
    page.locator("#action-toggle").check()
    page.locator("span.question a").click()
    page.locator("select[name=action]").select_option("tag")
    page.locator("button[name=index]").click()
    page.get_by_label("Tags").fill("looked at")
    page.get_by_role("button", name="Add tags").click()
    page.get_by_text(f"Changed {number} records").wait_for()
    tagged = own.rows("SELECT count(*) AS number FROM te_reflections WHERE tags LIKE '%looked at%'")
    assert tagged == [{"number": number}]


def test_a_viewer_reads_a_user_and_can_change_nothing(site: Site, viewer: Page) -> None:
    page = viewer
    for screen in (DESK, PHONE):
        _open(page, site, screen, "user", "mira")
        check_width(page)
        assert page.locator("#content-main").get_by_role("button").count() == 0
        assert page.locator("#content-main a[href*='/operations/']").count() == 0
    page.get_by_role("link", name="holiday in Kyoto").first.click()
    page.get_by_role("heading", name="Session holiday in Kyoto").wait_for()
    assert page.goto(site.url("admin:operation", "erase", user="mira")).status == 404


def test_a_user_is_looked_at_and_erased_with_a_receipt(own: Site, visit: Any) -> None:
    page: Page = visit(session=own.make("signed_in", "operator", 6), on=own)
    for screen, user in ((DESK, "noor"), (PHONE, "sam")):
        _open(page, own, screen, "users")
        page.get_by_label("User id").fill(user)
        page.get_by_role("button", name="Open").click()
        page.get_by_role("heading", name=f"User {user}").wait_for()
        check_width(page)
        page.get_by_role("link", name="Erase…").click()
        if screen is DESK:  # the password counts for the second user too
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Confirm").click()
        assert page.get_by_label("User").input_value() == user
        page.get_by_role("button", name="Erase permanently").click()
        page.get_by_role("heading", name="Result", exact=True).wait_for()
        assert own.rows("SELECT count(*) AS number FROM te_reflections WHERE user_id = ?", user) == [{"number": 0}]
        _open(page, own, screen, "user", user)
        page.get_by_text("This user was erased").wait_for()
        page.get_by_text("There are no records of the user").wait_for()
        check_width(page)
    check_access(page)
