"""What a policy would remove, before it removes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.axe import check_access
from tests.browser.keyboard import Keys

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.site import Site

pytestmark = pytest.mark.slow


SIZES = [(1280, 900), (390, 844)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_policy_with_a_schedule_and_a_preview_takes_few_keys(
    site: Site, operator: Page, width: int, height: int
) -> None:
    page, name = operator, f"weekly at {width}"
    page.set_viewport_size({"width": width, "height": height})
    page.goto(site.url("admin:orbsite_retentionpolicy_add"))
    page.locator("#id_name:focus").wait_for()  # by Django's own script
    keys = Keys(page)
    keys.type(name)
    keys.press("Tab", 3)
    keys.type("365")
    keys.press("Tab", 2)
    keys.type("every w")  # a select goes to the choice that begins so
    keys.press("Tab")
    keys.type("Sun")
    keys.press("Tab")
    keys.type("0430AM")
    keys.press("Tab", 2)  # past the button that opens a clock
    keys.type("Europe/Berlin")
    page.get_by_text("Today it would remove").wait_for()
    moments = page.locator("#policy-details .orb-due li")
    moments.filter(has_text="04:30 CE").nth(2).wait_for()
    assert all(text.startswith("Sunday") for text in moments.all_inner_texts())
    keys.press("Enter")
    page.get_by_text("was added successfully").wait_for()
    assert keys.pressed < 12
    row = site.rows("SELECT * FROM orb_policies WHERE name = ?", name)[0]
    assert (row["repeat"], row["weekday"], row["at"], row["zone"]) == ("week", 6, "04:30:00", "Europe/Berlin")
    assert row["next_due"][11:16] in ("02:30", "03:30")
    assert row["rules"] == '{"max_age_days": 365.0}'


def test_only_the_fields_of_the_schedule_are_shown(site: Site, operator: Page) -> None:
    page = operator
    page.goto(site.url("admin:orbsite_retentionpolicy_add"))
    shown = {
        "day": {"id_at", "id_zone"},
        "week": {"id_weekday", "id_at", "id_zone"},
        "month": {"id_month_day", "id_at", "id_zone"},
        "interval": {"id_every_number", "id_every_unit"},
    }
    for repeat, expected in shown.items():
        page.get_by_label("Run:").select_option(repeat)
        visible = {name for name in set().union(*shown.values()) if page.locator(f"#{name}").is_visible()}
        assert visible == expected
    page.get_by_label("Add tag").fill("pinned")
    page.keyboard.press("Enter")
    page.get_by_text("Keep reflections that are tagged “pinned”.").wait_for()


def test_a_policy_is_previewed_without_a_script(site: Site, visit: Any) -> None:
    page = visit("operator", java_script_enabled=False)
    page.goto(site.url("admin:orbsite_retentionpolicy_add"))
    page.get_by_label("Name").fill("seen before")
    page.get_by_label("Remove after").fill("20")
    page.get_by_role("button", name="Show what it would do").click()
    page.get_by_text("Today it would remove").wait_for()
    page.locator(".orb-timeline summary").click()
    assert page.locator(".orb-timeline tbody tr").first.is_visible()
    assert page.get_by_label("Remove after").input_value() == "20"
    assert site.rows("SELECT * FROM orb_policies WHERE name = 'seen before'") == []
    page.get_by_label("Name").press("Enter")  # the first button saves, not the preview
    page.get_by_text("was added successfully").wait_for()


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
