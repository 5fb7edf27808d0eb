"""Whether everybody can use the pages: axe, in the light and in the dark; a phone; the dashboard as numbers too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.axe import check_access
from tests.browser.screens import PHONE, check_width

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.site import Site

PAGES: list[tuple[str, ...]] = [
    ("operations",),
    ("trends",),
    ("operation", "migrate"),
    ("operation", "import"),
    ("te_reflectionrow_changelist",),
    ("users",),
    ("user", "ana-0"),
    ("user", "nobody"),
    ("te_reflectionrow_change", "kyoto-1"),
    ("luna_profilerow_add",),
    ("session", "mira", "holiday in Kyoto"),
    ("orbsite_run_changelist",),
    ("orbsite_run_change", "1"),
    ("orbsite_job_changelist",),
    ("orbsite_retentionpolicy_add",),
    ("orbsite_event_changelist",),
]
_PLOTS_FIT = """() => [...document.querySelectorAll("figure[data-chart] canvas")]
  .every((one) => Math.abs(one.width / devicePixelRatio - one.parentElement.clientWidth) <= 1)"""
_NO_RESIZE_EVENTS = """
window.ResizeObserver = class { observe() {} unobserve() {} disconnect() {} };
addEventListener("resize", (event) => event.stopImmediatePropagation(), true);
"""


@pytest.mark.parametrize("place", PAGES, ids="-".join)
def test_a_page_is_for_everybody(site: Site, admin: Page, place: tuple[str, ...]) -> None:
    name, *arguments = place
    admin.goto(site.url(f"admin:{name}", *arguments))
    check_access(admin)
    admin.set_viewport_size(PHONE)
    check_width(admin)


def test_the_dashboard_draws_its_plots_and_tells_them_in_tables(site: Site, admin: Page, shoot: Any) -> None:
    page = admin
    page.goto(site.url("admin:index"))
    figures = page.locator("figure[data-chart]")
    figures.locator("canvas").first.wait_for()
    assert figures.count() >= 4
    assert figures.locator("canvas").count() == figures.count()
    check_access(page)
    shoot(page, "dashboard", 1500)
    for figure in figures.all():
        figure.locator("summary").click()
        assert figure.locator("tbody tr").count() > 0
    for width, height in [(390, 844), (844, 390), (390, 844)]:
        page.set_viewport_size({"width": width, "height": height})
        check_width(page)
        page.wait_for_function(_PLOTS_FIT)
        check_width(page)


def test_the_dashboard_fits_a_turned_phone_before_its_plots_have_followed(site: Site, admin: Page) -> None:
    admin.add_init_script(_NO_RESIZE_EVENTS)
    admin.set_viewport_size({"width": PHONE["height"], "height": PHONE["width"]})
    admin.goto(site.url("admin:index"))
    admin.locator("figure[data-chart] canvas").first.wait_for()
    drawn = "() => [...document.querySelectorAll('figure[data-chart] canvas')].map((one) => one.width)"
    before = admin.evaluate(drawn)
    admin.set_viewport_size(PHONE)
    check_width(admin)
    assert admin.evaluate(drawn) == before  # the plots were not drawn for the new width


def test_the_dashboard_tells_the_same_without_a_script(site: Site, visit: Any) -> None:
    page = visit("viewer", java_script_enabled=False)
    page.goto(site.url("admin:index"))
    for figure in page.locator("figure[data-chart]").all():
        figure.locator("summary").click()
        assert figure.locator("tbody tr").first.is_visible()
    assert page.locator("canvas").count() == 0
