"""Hands that have a keyboard alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

_MOST = 200


class Keys:
    """A keyboard that counts the keys that are pressed beside typing."""

    def __init__(self, page: Page) -> None:
        self._page, self.pressed = page, 0

    def press(self, key: str, times: int = 1) -> None:
        """Press a key that types nothing."""
        for _ in range(times):
            self.pressed += 1
            self._page.keyboard.press(key)

    def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        self._page.keyboard.type(text)


def press_on(page: Page, target: Locator, key: str) -> None:
    """Go from control to control until the focus, which can be seen, is on one; then press a key."""
    target.wait_for()
    for _ in range(_MOST):
        page.keyboard.press("Tab")
        if target.evaluate("(one) => one === document.activeElement"):
            seen = target.evaluate("(one) => one.matches(':focus-visible') && getComputedStyle(one).visibility")
            assert seen == "visible", target
            page.keyboard.press(key)
            return
    raise AssertionError(f"no way by keyboard to {target}")
