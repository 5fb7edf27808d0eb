from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.guard import Guard
from tests.browser.site import Prepared, Site, prepared
from tests.support.shared_run import made_once
from tests.support.time_limits import time_limit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PATIENCE = 30_000.0  # milliseconds, for whatever a page is waited for
SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

Visit = Callable[..., "Page"]


def _skip(why: str) -> Any:
    """Skip what needs a browser, and say so; where nothing is skipped, fail."""
    if os.environ.get("CI"):
        raise RuntimeError(why)
    pytest.skip(f"NO PAGE WAS LOOKED AT in a browser: {why}")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all tests here. It ends with them: its event loop would keep Django from its database."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _skip(
            "playwright is not installed; it has no wheel for this machine, or requirements/dev.txt was not installed"
        )
    found = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if found is None:
        _skip("there is no Chromium; install your system's package of it, on Debian `apt-get install chromium`")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb"]
        launched = playwright.chromium.launch(executable_path=found, args=flags)
        yield launched
        launched.close()


@pytest.fixture(scope="package")
def begin(browser: Browser) -> Prepared:
    """What sites are copies of, made once in a run."""
    with made_once("browser") as work:
        return prepared(work)


@pytest.fixture(scope="package")
def site(begin: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with a worker, over a copy of the sample that has been migrated."""
    with begin.running(tmp_path_factory.mktemp("site")) as site, site.worker():
        yield site


@pytest.fixture
def open_context(browser: Browser) -> Iterator[Callable[..., tuple[BrowserContext, Guard]]]:
    """Open a browser context on a site; each is guarded until the test ends."""
    opened = []

    def opening(site: Site, session: str | None = None, **options: Any) -> tuple[BrowserContext, Guard]:
        context = browser.new_context(
            base_url=site.address, viewport={"width": 1200, "height": 800}, reduced_motion="reduce", **options
        )
        context.set_default_timeout(time_limit(PATIENCE))
        if session is not None:
            context.add_cookies([{"name": "sessionid", "value": session, "url": site.address}])
        guard = Guard(context, site)
        opened.append((context, guard))
        return context, guard

    yield opening
    try:
        for _, guard in opened:
            guard.check()
    finally:
        for context, _ in opened:
            context.close()


@pytest.fixture
def visit(site: Site, open_context: Any) -> Visit:
    """Return a page for one of the people, or for somebody who has not signed in."""

    def visiting(
        name: str | None = None,
        *,
        on: Site = site,
        session: str | None = None,
        allow: str | None = None,
        **options: Any,
    ) -> Page:
        context, guard = open_context(on, site.sessions[name] if name else session, **options)
        if allow is not None:
            guard.allow(allow)
        page: Page = context.new_page()
        return page

    return visiting


@pytest.fixture
def admin(visit: Visit) -> Page:
    return visit("admin")


@pytest.fixture
def operator(visit: Visit) -> Page:
    return visit("operator")


@pytest.fixture
def viewer(visit: Visit) -> Page:
    return visit("viewer", allow="404|403")


@pytest.fixture
def shoot() -> Callable[..., None]:
    """Take a page's picture for the documentation, light and dark, where ORB_SCREENSHOTS is set."""

    def shooting(page: Page, name: str, height: int = 800) -> None:
        if "ORB_SCREENSHOTS" not in os.environ:
            return
        SCREENSHOTS.mkdir(exist_ok=True)
        page.set_viewport_size({"width": 1200, "height": height})
        page.evaluate("scrollTo(0, 0)")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}.png", animations="disabled")
        page.emulate_media(color_scheme="light")

    return shooting
