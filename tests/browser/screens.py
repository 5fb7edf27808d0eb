"""The screens on which pages are looked at, and whether a page is wider than its screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

DESK: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
_OVERFLOW = """() => document.documentElement.scrollWidth <= innerWidth ? [] : ["wider than the screen", ...
  [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
  .slice(0, 5).map((one) => one.outerHTML.slice(0, 150))]"""


def check_width(page: Page) -> None:
    """Fail where a page is wider than its screen, with the first elements that are."""
    assert page.evaluate(_OVERFLOW) == []
