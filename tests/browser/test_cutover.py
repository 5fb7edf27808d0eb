"""A whole cut-over from the dashboard, at a desk and on a phone: preview, migrate, verify, each from the link before."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.axe import check_access
from tests.browser.screens import check_width
from tests.browser.site import Site
from tests.browser.test_migration import ended

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.browser.site import Prepared

pytestmark = pytest.mark.slow
WIDE = 1280


@pytest.fixture(scope="module")
def own(begin: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose files change."""
    with begin.running(tmp_path_factory.mktemp("cutover")) as site, site.worker():
        yield site


@pytest.mark.parametrize("width", [WIDE, 390])
def test_a_cut_over_follows_the_links(own: Site, visit: Any, width: int) -> None:
    site = own
    _have_news(site)
    page: Page = visit("operator", on=site)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(site.url("admin:index"))
    page.get_by_role("link", name="Migrate…").first.click()
    page.get_by_text(f"the JSON files in {site.data}").wait_for()
    page.get_by_text(re.compile(r"14[34] reflections")).wait_for()
    _is_for_everybody(page)
    page.get_by_label("Back up first").uncheck()

    page.get_by_role("button", name="Preview").click()
    assert ended(page) == "Done"
    page.get_by_text("operator started a preview of a migration of the files into SQL").wait_for()
    page.get_by_text("Nothing was written. Look at the records below").wait_for()
    _is_for_everybody(page)

    page.get_by_role("button", name="Migrate now").click()
    page.wait_for_url(re.compile(r"/jobs/\d+/"))
    page.get_by_text(re.compile(r"It is complete: 23[01] read, 1 new")).wait_for()
    page.get_by_role("link", name="Verify…").click()
    page.get_by_text(re.compile("unchanged since run|not read by any run")).first.wait_for()
    page.get_by_role("button", name="Start").click()
    assert ended(page) == "Done"
    page.get_by_text("Files and SQL differ").wait_for()  # SQL has the reflections of the last month too
    _is_for_everybody(page)

    page.get_by_role("link", name=re.compile(r"^\d+$")).click()
    page.get_by_text("operator started a comparison of the files with SQL").wait_for()
    page.get_by_text("Technical facts").click()
    page.get_by_text("SHA-256 of everything that it reads").wait_for()
    _is_for_everybody(page)


def _have_news(site: Site) -> None:
    path = site.data / "te" / "reflections.json"
    tree = json.loads(path.read_text())
    items = tree["sessions"]["default"]
    items.append(items[0] | {"id": f"news-{len(items)}"})
    path.write_text(json.dumps(tree))


def _is_for_everybody(page: Page) -> None:
    if (page.viewport_size or {})["width"] == WIDE:
        check_access(page)
    check_width(page)
