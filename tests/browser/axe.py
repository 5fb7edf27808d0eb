"""Whether everybody can use a page, as far as axe can tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

_AXE = Path(__file__).parents[1] / "data" / "axe" / "axe.min.js"
_GRAVE = ("serious", "critical")
_SCHEMES = ("light", "dark")


def check_access(page: Page) -> None:
    """Fail where axe finds something serious, in the light and in the dark."""
    found = []
    for scheme in _SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.evaluate("document.getAnimations().forEach((one) => one.finish())")
        if not page.evaluate("'axe' in window"):
            page.evaluate(_AXE.read_text())
        for one in page.evaluate("axe.run({preload: false, resultTypes: ['violations']})")["violations"]:
            if one["impact"] in _GRAVE:
                where = [f"{node['html'][:200]} {node['failureSummary']}" for node in one["nodes"][:4]]
                found.append(f"{scheme}: {one['id']} ({one['impact']}) {len(one['nodes'])} times: {where}")
    page.emulate_media(color_scheme="light")
    assert not found, f"{page.url}\n" + "\n".join(found)
