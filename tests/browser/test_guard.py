"""The guard itself: whatever it is there to notice, it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.axe import check_access
from tests.browser.guard import Guard

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.site import Site

_WRONG = {
    "console: error .*something": "console.error('something')",
    "error: .*nobody caught this": "setTimeout(() => { throw new Error('nobody caught this'); })",
    "dialog: hello": "alert('hello')",
    "policy: script-src": "document.body.append(Object.assign(document.createElement('script'), {text: 'one = 1'}))",
    "policy: style-src": "document.body.setAttribute('style', 'color: red')",
    "policy: img-src|request: http://192": "document.body.append(Object.assign(new Image(), {src: 'http://192.0.2.1/'}))",
    "answer: 500": "fetch('/fails')",
}
_FRAMES = 1000


@pytest.mark.parametrize("expected", _WRONG)
def test_what_a_page_may_not_do_is_noticed(site: Site, browser: Browser, expected: str) -> None:
    with browser.new_context(base_url=site.address) as context:
        guard = Guard(context, site)
        page = context.new_page()
        page.route("**/fails", lambda route: route.fulfill(status=500))
        page.goto(site.url("admin:login"))
        guard.check()
        page.evaluate(f"() => {{ {_WRONG[expected]} }}")
        for _ in range(_FRAMES):
            if guard.problems:
                break
            page.evaluate("new Promise(requestAnimationFrame)")
        with pytest.raises(AssertionError, match=expected):
            guard.check()


def test_what_keeps_people_from_using_a_page_is_noticed(site: Site, browser: Browser) -> None:
    with browser.new_context(base_url=site.address) as context:
        page = context.new_page()
        page.goto(site.url("admin:login"))
        page.evaluate("document.querySelector('label[for=id_username]').remove()")
        with pytest.raises(AssertionError, match="label \\(critical\\)"):
            check_access(page)
