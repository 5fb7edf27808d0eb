"""What breaks pages, as every text of records and in every field: nothing of it is run, and every page is there."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from django.contrib.admin.utils import quote as quote_key

from tests.browser.crawl import crawl
from tests.browser.sample import READER, USER
from tests.support.suites import naughty_strings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.browser.site import Prepared, Site

pytestmark = pytest.mark.slow
NUMBER, OF_A_PAGE, ROOM = 515, 50, 4000
_FIELDS = "textarea, input[type=text], input[type=search], input[type=email], input[type=url], input:not([type])"
_FORMS = f"form:has({_FIELDS})"
_FILL = """(form, [fields, lines, line]) => {
  for (const field of form.querySelectorAll(fields)) {
    field.value = field.tagName === "TEXTAREA" ? lines : line;
  }
  form.noValidate = true;
  form.requestSubmit(form.querySelector("[type=submit]"));
}"""


@pytest.fixture(scope="module")
def strings() -> list[str]:
    found = naughty_strings()
    assert len(found) == NUMBER
    return found


@pytest.fixture(scope="module")
def hostile(begin: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with hostile records; there is no worker, so that what is started there is never done."""
    with begin.running(tmp_path_factory.mktemp("hostile")) as site:
        site.make("hostile")
        yield site


def test_lists_show_all_of_them(hostile: Site, visit: Any) -> None:
    page, seen = visit("admin", on=hostile), 0
    for number in range(-(-NUMBER // OF_A_PAGE)):
        answer = page.goto(hostile.url("admin:te_reflectionrow_changelist", user_id=USER, p=str(number + 1)))
        assert answer.status == 200
        seen += page.locator("#result_list tbody tr").count()
    assert seen == NUMBER


def test_a_session_shows_all_of_them(hostile: Site, visit: Any) -> None:
    page, seen = visit("admin", on=hostile), 0
    page.goto(hostile.url("admin:session", READER, "all"))
    while True:
        seen += page.locator("article.orb-turn").count()
        later = page.get_by_role("link", name="Later")
        if not later.count():
            break
        with page.expect_navigation():
            later.click()
    assert seen == NUMBER


def test_the_pages_of_a_record_show_them_whatever_its_id(hostile: Site, visit: Any) -> None:
    page = visit("admin", on=hostile)
    found = hostile.rows("SELECT id, input FROM te_reflections WHERE user_id = ? AND input LIKE '%<%'", USER)
    for row in random.Random(7).sample(found, 6):
        for name in ("change", "history", "delete"):
            answer = page.goto(hostile.url(f"admin:te_reflectionrow_{name}", quote_key(row["id"])))
            assert answer.status == 200
            if name == "change":
                assert row["input"] in page.content().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_a_search_for_any_of_them_is_answered(hostile: Site, strings: list[str], visit: Any) -> None:
    page = visit("admin", on=hostile)
    for some in _groups(strings):
        answer = page.goto(hostile.url("admin:te_reflectionrow_changelist", user_id=USER, q=" ".join(some)))
        assert answer.status == 200, some


def test_every_field_of_every_page_takes_all_of_them(hostile: Site, strings: list[str], visit: Any) -> None:
    lines, line, short = "\n".join(strings), " ".join(strings), " ".join(strings[20:40])
    submitted = []

    def submit(page: Page, address: str) -> None:
        for number in range(page.locator(_FORMS).count()):
            if number:
                page.goto(address)
            form = page.locator(_FORMS).nth(number)
            is_get = form.get_attribute("method") != "post"
            with page.expect_navigation() as moved:
                form.evaluate(_FILL, [_FIELDS, lines, short if is_get else line])
            assert moved.value.status in (200, 302, 400), f"{moved.value.status} of form {number} of {address}"
            submitted.append(address)

    page = visit("operator", on=hostile, allow="status of 400")
    found = crawl(page, hostile.url("admin:index"), do=submit)
    assert set(found.values()) == {200}, found
    assert len(found) > 60
    assert len(submitted) > 20
    for name in ("index", "operations", "orbsite_job_changelist", "orbsite_event_changelist"):
        page.goto(hostile.url(f"admin:{name}"))
    page = visit("admin", on=hostile, allow="status of 400")
    for name in ("orbsite_token_add", "auth_user_add", "auth_group_add"):  # what operators may not make
        address = hostile.url(f"admin:{name}")
        page.goto(address)
        submit(page, address)
        page.goto(address.replace("add/", ""))


def _groups(strings: list[str]) -> Iterator[list[str]]:
    """Return as many at once as an address has room for."""
    group: list[str] = []
    for text in strings:
        if len(quote(" ".join([*group, text]))) > ROOM:
            yield group
            group = []
        group.append(text)
    yield group
