"""The site: it is built without a warning, it needs no other host, and its tables are complete."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from orbsite.storage import errors
from tests.docs.pages import ROOT
from tests.support.time_limits import time_limit

MKDOCS = ROOT / ".venv-docs/bin/mkdocs"
LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc(?:set)?=\"?(?:https?:)?//|<link\b[^>]*\brel=\"?(?!canonical)[^>]*\bhref=\"?(?:https?:)?//"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    if not MKDOCS.exists():
        pytest.skip("the packages of requirements/docs.txt are not installed; run: make docs")
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [MKDOCS, "build", "--strict", "--quiet", "--site-dir", place],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=time_limit(120),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return place


@pytest.mark.slow
def test_the_pages_load_nothing_from_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        assert LOADED.search(page.read_text()) is None, page


@pytest.mark.slow
def test_the_site_has_what_is_generated_and_inserted(site: Path) -> None:
    told = {
        "reference/commands.html": ("--max-per-session", "upgrade_orb_rows", "--every-user"),
        "reference/rest.html": ("PATCH /api/v1/users/{user}/reflections/{reflection}", "DELETE /api/v1/users/{user}"),
        "reference/python.html": ("migrate_all_file_to_sql", "compact_te_reflections", "get_or_create_profile"),
        "reference/errors.html": ("ServerUnreachable", "TooManyRequests"),
        "reference/format.html": ("Bytes of a journal",),
        "reference/changes.html": ("Unreleased",),
        "how-to/third-domain.html": ("ActionsLayout",),
    }
    for page, texts in told.items():
        content = re.sub(r"<[^>]+>", "", (site / page).read_text())
        assert [text for text in texts if text not in content] == [], page
    left = [page for page in site.rglob("*.html") if re.search(r"<!-- (generated|file): |# file: ", page.read_text())]
    assert left == []


def test_what_another_host_would_send_is_found() -> None:
    for tag in ('<script src="https://a.example/b.js">', "<img alt='' src=//a.example/b.png>",
                '<link rel="stylesheet" href="https://a.example/b.css">', '<link rel=preconnect href=https://a.example>'):  # fmt: skip
        assert LOADED.search(tag), tag
    for tag in ('<script src="../assets/b.js">', '<a href="https://a.example">', '<link rel="icon" href="b.png">'):
        assert LOADED.search(tag) is None, tag


def test_every_error_has_a_cause_and_a_cure() -> None:
    page = (ROOT / "docs/reference/errors.md").read_text()
    described = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    raised = [name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, errors.OrbError)]
    assert set(described) == set(raised) - {"OrbError"}
    assert len(described) == len(set(described))
