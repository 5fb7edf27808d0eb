"""Lists of records: one line a row, the beginnings of texts, facets in bounded time, one place for times."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from luna.domain import DOMAIN as LUNA
from orbsite.admin.base.cells import LONGEST, SHOWN
from orbsite.admin.records import record_list
from orbsite.search.indexer import SearchIndex
from orbsite.storage.clock import utc_now
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from te.records import Reflection
from tests.support.factories import ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db
LIST, PROFILES, MODES = "/admin/te/reflectionrow/", "/admin/luna/profilerow/", "/admin/luna/activemoderow/"


def _put(*records: Reflection) -> None:
    SqlStore(DOMAIN).put(records)


def _page(client: Client, address: str = LIST, **query: str) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def _facets(client: Client, address: str = LIST, **query: str) -> dict[str, dict[str, str]]:
    answer = client.get(address, query)
    facets = answer.context["cl"].facets
    for facet in facets:
        for value in facet.values:
            assert html.escape(value.query) in answer.content.decode()
    return {facet.name: {value.text: str(value.number) for value in facet.values} for facet in facets if facet.values}


def test_a_row_has_the_beginnings_of_its_texts_on_one_line_and_more_in_titles(admin_client: Client) -> None:
    long = "word\n " * 1000
    _put(ReflectionFactory(input="a <b>\n\nc", output=long, tags=("x", "y z")))
    page = admin_client.get(LIST).content.decode()
    assert "a &lt;b&gt; c</span>" in page
    assert "x, y z</span>" in page
    (title, shown) = re.findall(r'data-label="Output" title="([^"]*)" dir="auto">([^<]*)<', page)[0]
    assert (title, len(title)) == (f"{long[:LONGEST]}…", LONGEST + 1)
    assert (len(shown), "\n" in shown) == (SHOWN, False)


def test_no_text_is_read_that_is_not_shown_and_none_completely(admin_client: Client) -> None:
    _put(ReflectionFactory(input="i" * 9000, output="o" * 9000, notes="n" * 9000))
    with CaptureQueriesContext(connection) as queries:
        page = _page(admin_client)
    assert "i" * (LONGEST + 1) not in page
    about = [one["sql"] for one in queries.captured_queries if 'FROM "te_reflections"' in one["sql"]]
    assert len(about) == 3
    assert not [sql for sql in about if re.search(r'(SELECT|, )"te_reflections"\."(input|output|notes)"', sql)]
    assert not [sql for sql in about if "notes" in sql]


def test_a_time_is_relative_with_the_exact_one_in_its_title(admin_client: Client) -> None:
    moment = utc_now().replace(microsecond=0) - timedelta(days=3, hours=2)
    _put(ReflectionFactory(created_at=moment))
    shown = f'<time datetime="{moment.isoformat()}" title="{moment:%Y-%m-%d %H:%M:%S} UTC">3 days ago</time>'
    assert shown in _page(admin_client)


def test_there_is_one_place_to_filter_by_time(admin_client: Client) -> None:
    today = utc_now()
    for days in (0, 3, 20, 200, 500):
        _put(ReflectionFactory(id=f"d-{days}", created_at=today - timedelta(days=days)))
    page = admin_client.get(LIST)
    text = html.unescape(page.content.decode())
    assert len(re.findall('type="date"', text)) == 2
    assert "created_at__gte" not in text
    found = {title: _ids(admin_client, query) for title, query in page.context["cl"].periods}
    assert found == {
        "Today": ["d-0"],
        "Last 7 days": ["d-0", "d-3"],
        "Last 30 days": ["d-0", "d-3", "d-20"],
        "Last year": ["d-0", "d-3", "d-20", "d-200"],
    }


def _ids(client: Client, query: str) -> list[str]:
    return [row.id for row in client.get(LIST + query).context["cl"].result_list]


def test_conditions_are_shown_and_each_can_be_removed(admin_client: Client) -> None:
    _put(ReflectionFactory(id="r", user_id="ana"))
    page = _page(admin_client, user_id="ana", tag="x", created_at__gte="2020-01-01 00:00:00+00:00", p="1")
    chips = re.findall(r'<a class="orb-chip" href="([^"]*)"[^>]*>([^<]*)<', page)
    assert chips == [
        ("?created_at__gte=2020-01-01+00%3A00%3A00%2B00%3A00&tag=x", "User: ana "),
        ("/admin/console/users/ana/", "All about this user"),
        ("?created_at__gte=2020-01-01+00%3A00%3A00%2B00%3A00&user_id=ana", "Tag: x "),
        ("?tag=x&user_id=ana", "created_at__gte: 2020-01-01 00:00:00+00:00 "),
        ("?", "Show all"),
    ]


def test_frequent_users_sessions_and_tags_stand_above_the_list(admin_client: Client, monkeypatch: Any) -> None:
    for number in range(6):
        tags = ("all", "even") if number % 2 == 0 else ("all", "<b>")
        _put(ReflectionFactory(id=f"r-{number}", session_id="s" if number else "t", tags=tags, input=f"word {number}"))
    whole = {
        "user_id": {"ana": "6"},
        "session_id": {"s": "5", "t": "1"},
        "tag": {"all": "6", "even": "3", "<b>": "3"},
    }
    assert _facets(admin_client) == whole
    assert _facets(admin_client, q="word") == whole
    assert _facets(admin_client, user_id="ana") == {name: whole[name] for name in ("session_id", "tag")}
    within = {"user_id": {"ana": "4"}, "tag": {"all": "4", "even": "2", "<b>": "2"}}
    assert _facets(admin_client, session_id="s", q="word -1") == within
    assert _facets(admin_client, user_id="ana", tag="even") == {"session_id": {"s": "2", "t": "1"}}
    assert "<b> <span" not in admin_client.get(LIST, {"user_id": "ana"}).content.decode()
    monkeypatch.setattr(record_list, "COUNTED_ROWS", 4)
    assert _facets(admin_client, user_id="ana")["session_id"] == {"s": "5+"}


def test_a_search_in_all_rows_counts_fewer_of_them(admin_client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(record_list, "COUNTED_MATCHES", 2)
    _put(*(ReflectionFactory(id=f"r-{number}", input="word", tags=()) for number in range(6)))
    SearchIndex(DOMAIN, Reflection).go_on(utc_now)
    assert _facets(admin_client)["user_id"] == {"ana": "6"}
    assert _facets(admin_client, q="word")["user_id"] == {"ana": "3+"}
    assert _facets(admin_client, q="word", user_id="ana")["session_id"] == {"default": "6"}


def test_facets_are_counted_in_so_many_rows_however_many_there_are(admin_client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(record_list, "COUNTED_ROWS", 30)
    for number in (10, 200):
        _put(*(ReflectionFactory(id=f"r-{n}") for n in range(number)))
        with CaptureQueriesContext(connection) as queries:
            facets = _facets(admin_client)
        assert [one["sql"] for one in queries.captured_queries if one["sql"].endswith(" LIMIT 31")]
    assert facets["user_id"] == {"ana": "31+"}


def test_modes_are_counted_in_the_lists_of_profiles_and_modes(admin_client: Client) -> None:
    SqlStore(LUNA).put([ProfileFactory(user_id=user, mode_id=mode) for user in "ab" for mode in ("mars", "<x>")])
    SqlStore(LUNA).put([ProfileFactory(user_id="c", mode_id="mars")])
    assert _facets(admin_client, PROFILES) == {
        "user_id": {"a": "2", "b": "2", "c": "1"},
        "mode_id": {"mars": "3", "<x>": "2"},
    }
    assert _facets(admin_client, PROFILES, mode_id="<x>") == {"user_id": {"a": "1", "b": "1"}}
    assert _facets(admin_client, MODES) == {}


def test_lists_link_each_user_to_the_page_about_the_user(admin_client: Client) -> None:
    _put(ReflectionFactory(user_id="a/b"))
    SqlStore(LUNA).put([ProfileFactory(user_id="a/b")])
    for address in (LIST, PROFILES):
        assert 'href="/admin/console/users/~YS9i/">a/b</a>' in _page(admin_client, address)


def test_an_empty_list_says_what_to_do(admin_client: Client) -> None:
    assert "There are no reflections yet. They appear here after a program" in _page(admin_client)
    assert "No reflections match. Remove a condition" in _page(admin_client, user_id="ana")


def test_times_of_any_year_are_shown(admin_client: Client) -> None:
    _put(ReflectionFactory(id="old", created_at=datetime(1, 1, 1, tzinfo=UTC)))
    _put(ReflectionFactory(id="new", created_at=datetime(9999, 12, 31, tzinfo=UTC)))
    page = _page(admin_client)
    assert re.search(r"\d+ years ago</time>", page)
    assert re.search(r"in \d+ years</time>", page)
