"""Every relative link in the documentation leads to a file, and to a heading that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, pages

_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
_CODE = re.compile(r"^( *)```.*?^\1```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
PAGES = pages()


def _links(text: str) -> list[str]:
    found = [one[0] or one[1] for one in _LINK.findall(_CODE.sub("", text))]
    return [one for one in found if not re.match(r"[a-z]+:", one)]


def _anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a page, as MkDocs and the pages of repositories make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page: str) -> None:
    for link in _links(PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_links_are_found() -> None:
    text = '[a](b.md#c) ![d](e.png) <img src="f.png"> [g](https://h.example) `[i](j.md)`\n```\n[k](l.md)\n```\n'
    assert _links(text) == ["b.md#c", "e.png", "f.png"]
    assert sum(len(_links(page)) for page in PAGES.values()) > 100


def test_pages_of_the_site_link_only_to_the_site() -> None:
    """MkDocs cannot follow a link out of `docs`."""
    for page in PAGES.keys() - {"README.md"}:
        for link in _links(PAGES[page]):
            target = ((ROOT / page).parent / link.partition("#")[0]).resolve()
            assert target.is_relative_to(ROOT / "docs"), (page, link)
