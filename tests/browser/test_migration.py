"""The migration from the page: a preview, the run, its undoing; by keyboard alone; a large one, cancelled and resumed."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.axe import check_access
from tests.browser.keyboard import press_on
from tests.browser.site import slowed
from tests.support.time_limits import time_limit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.browser.site import Prepared, Site

pytestmark = pytest.mark.slow
MANY = 100_000
_PATIENCE = 120_000.0  # milliseconds
_HAS_ENDED = (
    "() => { const state = document.getElementById('job-state');"
    " return state && !['Queued', 'Running'].includes(state.textContent.trim()); }"
)
_IS_MOVING = (
    "() => { const bar = document.querySelector('progress'); return bar && bar.value > 0 && bar.value < bar.max; }"
)


@dataclass(frozen=True)
class Changes:
    """What the files have since they were migrated: a new reflection, a changed one, and one that cannot be read."""

    new: str
    changed: str
    output: str


@pytest.fixture
def changes(site: Site, request: pytest.FixtureRequest) -> Iterator[Changes]:
    path = site.data / "te" / "reflections.json"
    kept = path.read_bytes()
    tree = json.loads(kept)
    items = tree["sessions"]["default"]
    mark = zlib.crc32(request.node.name.encode())  # each test finds its own
    made = Changes(f"new-{mark}", items[0]["id"], f"update note <b>reflect</b> quick review {mark}")
    items[0]["output"] = made.output
    items[1]["createdAt"] = "soon"
    items.append(items[2] | {"id": made.new})
    path.write_text(json.dumps(tree))
    yield made
    path.write_bytes(kept)


def begin_migration(page: Page, site: Site) -> None:
    page.goto(site.url("admin:index"))
    page.get_by_role("link", name="Operations").first.click()
    page.get_by_role("link", name="Migrate", exact=True).click()
    page.get_by_label("Back up first").uncheck()
    page.get_by_role("button", name="Preview").click()


def ended(page: Page) -> str:
    """Wait until the page of a job shows that it has ended, and return how."""
    page.wait_for_function(_HAS_ENDED, timeout=time_limit(_PATIENCE))
    page.wait_for_load_state()
    return page.locator("#job-state").inner_text()


def test_a_migration_is_previewed_done_and_undone(site: Site, changes: Changes, operator: Page, shoot: Any) -> None:
    page, before = operator, _outputs(site)
    begin_migration(page, site)
    assert ended(page) == "Done"
    for summary in page.locator("summary").all():
        summary.click()
    for text in (changes.new, changes.output):
        page.get_by_text(text).first.wait_for()
    check_access(page)
    shoot(page, "migration-preview", 1500)
    assert _outputs(site) == before

    page.get_by_role("button", name="Migrate now").click()
    page.get_by_role("heading", name="Result", exact=True).wait_for()
    assert _outputs(site) == before | {changes.new: before[_third(site)], changes.changed: changes.output}

    page.goto(site.url("admin:operation", "rollback"))
    page.get_by_label("Run", exact=True).select_option(index=0)
    page.get_by_role("button", name="Preview").click()
    assert ended(page) == "Done"
    assert changes.new in _outputs(site)
    page.get_by_role("button", name="Rollback now").click()
    page.get_by_role("heading", name="Result", exact=True).wait_for()
    assert _outputs(site) == before


def test_a_migration_needs_no_mouse(site: Site, changes: Changes, operator: Page) -> None:
    page = operator
    page.goto(site.url("admin:operations"))
    press_on(page, page.get_by_role("link", name="Migrate", exact=True), "Enter")
    page.wait_for_url("**/operations/migrate/")
    press_on(page, page.get_by_label("Back up first"), "Space")
    press_on(page, page.get_by_role("button", name="Preview"), "Enter")
    page.wait_for_url(re.compile(r"/jobs/\d+/"))
    assert ended(page) == "Done"
    press_on(page, page.locator("summary").first, "Enter")
    assert changes.new not in _outputs(site)
    press_on(page, page.get_by_role("button", name="Migrate now"), "Enter")
    page.get_by_role("heading", name="Result", exact=True).wait_for()
    assert changes.new in _outputs(site)


@pytest.fixture
def large(begin: Prepared, tmp_path: Path) -> Iterator[Site]:
    """A site over files with 100,000 reflections, none of which is in SQL; it has no worker yet."""
    with begin.running(tmp_path) as site:
        site.make("large", site.data, MANY)
        yield site


def test_a_large_migration_is_watched_cancelled_and_gone_on_with(large: Site, visit: Any, shoot: Any) -> None:
    page = visit("operator", on=large)
    with large.worker() as worker:
        begin_migration(page, large)
        assert ended(page) == "Done"
        page.get_by_text(f"{MANY}").first.wait_for()

        with slowed(worker):
            page.get_by_role("button", name="Migrate now").click()
            page.wait_for_function(_IS_MOVING, timeout=time_limit(_PATIENCE))
            check_access(page)
            shoot(page, "live-job")
            address = page.url
            page.close()  # the work goes on without it
            page = visit("operator", on=large)
            page.goto(address)
            page.get_by_role("button", name="Cancel").click()
            page.get_by_text("The job will stop").wait_for()
        assert ended(page) == "Cancelled"
    done = _count(large)
    assert 0 < done < MANY

    with large.worker():
        page.get_by_role("button", name="Start job again").click()
        page.get_by_role("heading", name="Result", exact=True).wait_for(timeout=time_limit(_PATIENCE))
        assert page.url != address
    assert _count(large) == MANY
    runs = large.rows("SELECT state FROM orb_runs WHERE operation = 'migrate' ORDER BY id")
    assert [run["state"] for run in runs] == ["complete", "complete"]  # the sample's, and one that was gone on with


def _third(site: Site) -> str:
    items: list[dict[str, str]] = json.loads((site.data / "te" / "reflections.json").read_text())["sessions"]["default"]
    return items[2]["id"]


def _count(site: Site) -> int:
    return site.rows("SELECT count(*) AS number FROM te_reflections WHERE id LIKE 'r-%'")[0]["number"]


def _outputs(site: Site) -> dict[str, str]:
    return {row["id"]: row["output"] for row in site.rows("SELECT id, output FROM te_reflections")}
