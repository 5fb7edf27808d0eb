"""Follows the links of the admin."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from django.urls import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

_LINKS = "[...document.querySelectorAll('a[href]')].map((link) => link.getAttribute('href'))"
_MOST = 150
_THEIRS = tuple(f"/admin/{app}/" for app in ("auth", "axes", "django_tasks_database", "otp_totp"))


def crawl(
    page: Page,
    begin: str,
    *,
    theirs: bool = False,
    do: Callable[[Page, str], None] = lambda page, address: None,
) -> dict[str, int]:
    """Follow every link within the admin, one of each kind; return the addresses and their status.

    The pages of other packages' tables are left out, or, where it is `theirs` that is wanted, all others.
    """
    found: dict[str, int] = {}
    kinds: Counter[str] = Counter()
    waiting = deque([begin])
    while waiting:
        address = waiting.popleft()
        answer = page.goto(address)
        if answer is None:
            raise RuntimeError(f"{address} is no page")
        found[address] = answer.status
        assert answer.status >= 400 or page.locator("h1, h2").count(), f"{address} has no heading"
        for link in page.evaluate(_LINKS):
            parts = urlsplit(urljoin(page.url, link))
            if parts.netloc != urlsplit(page.url).netloc or not parts.path.startswith("/admin/"):
                continue
            kind, target = _kind(parts), parts._replace(scheme="", netloc="", fragment="").geturl()
            is_wanted = theirs == parts.path.startswith(_THEIRS)
            if is_wanted and not kinds[kind] and target not in found:
                kinds[kind] += 1
                waiting.append(target)
        do(page, address)
    assert len(found) < _MOST, found
    return found


def _kind(parts: SplitResult) -> str:
    """Return the name of a page; a list that was filtered is one more, and the form of each operation its own."""
    found = resolve(unquote(parts.path))
    if found.view_name == "admin:operation":
        return parts.path
    return f"{found.view_name}?" if parts.query and found.view_name.endswith("changelist") else found.view_name
