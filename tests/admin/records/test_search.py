"""The list of reflections is searched and filtered, and a session is read as a conversation."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from orbsite.admin.records import session_view
from orbsite.search import search
from orbsite.search.indexer import SearchIndex
from orbsite.storage.clock import utc_now
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import ReflectionFactory
from tests.support.suites import naughty_strings

pytestmark = pytest.mark.django_db
LIST = "/admin/te/reflectionrow/"
DAY = datetime(2026, 1, 31, tzinfo=UTC)
BEFORE_YEAR_1 = "WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzIzOjU5IiwieSJd"
"""A cursor of a time that is none in UTC."""


@pytest.fixture
def viewer(client: Client) -> Client:
    user = User.objects.create_user("viewer", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_reflectionrow"))
    client.force_login(user)
    return client


def _put(*records: Reflection) -> None:
    SqlStore(DOMAIN).put(records)


def _index() -> None:
    SearchIndex(DOMAIN, Reflection).go_on(utc_now)


def _page(client: Client, **query: str) -> str:
    answer = client.get(LIST, query)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def _ids(client: Client, **query: str) -> list[str]:
    answer = client.get(LIST, query)
    assert answer.status_code == 200
    return [row.id for row in answer.context["cl"].result_list]


def test_texts_are_searched_by_their_words(admin_client: Client, monkeypatch: Any) -> None:
    _put(*(ReflectionFactory(id=f"r-{n}", input=f"Größe {n}", notes="予約" if n == 2 else None) for n in range(4)))
    assert _ids(admin_client, q="grosse") == ["r-3", "r-2", "r-1", "r-0"]
    _index()
    monkeypatch.setattr(search, "NEWEST", 0)
    assert _ids(admin_client, q="GRÖß") == ["r-3", "r-2", "r-1", "r-0"]
    assert _ids(admin_client, q='"grosse 1"') == ["r-1"]
    assert _ids(admin_client, q="grosse -1 -3") == ["r-2", "r-0"]
    assert _ids(admin_client, q="約") == ["r-2"]
    assert _ids(admin_client, q="nothing") == []


def test_a_whole_id_comes_first_and_the_texts_are_a_step_away(admin_client: Client) -> None:
    _put(ReflectionFactory(id="deploy", input="a"), ReflectionFactory(id="other", input='deploy "now"'))
    page = _page(admin_client, q="deploy")
    assert _ids(admin_client, q="deploy") == ["deploy"]
    assert "These records match the id, user or session" in page
    (link,) = re.findall(r'<a href="(\?[^>]*)">Search the texts', page)
    assert [row.id for row in admin_client.get(LIST + link).context["cl"].result_list] == ["other"]


def test_a_list_says_what_its_search_could_not_know(admin_client: Client, viewer: Client) -> None:
    _put(ReflectionFactory(id="r-1", input="word"), ReflectionFactory(id="r-2", input="word"))
    assert "has never been complete" in _page(admin_client, q="word")
    assert "2 of the newest 500 records here were searched without the index" in _page(admin_client, q="word")
    _index()
    page = _page(admin_client, q="word")
    assert "The index was last complete on" in page
    assert "without the index" not in page
    assert "Update the index" in page
    assert "Update the index" not in _page(viewer, q="word")
    assert "This search has no word to find" in _page(viewer, q="-word")
    assert "These records match" not in _page(viewer)


def test_rows_are_filtered_by_user_session_tag_and_day(admin_client: Client) -> None:
    for number in range(6):
        user, tags = ("ana", ("a b", "x")) if number % 2 else ("bo", ("!!",))
        made = DAY + timedelta(hours=13 * number)
        _put(ReflectionFactory(id=f"r-{number}", user_id=user, session_id=f"s-{number}", tags=tags, created_at=made))
    assert _ids(admin_client, user_id="ana") == ["r-5", "r-3", "r-1"]
    assert _ids(admin_client, session_id="s-2") == ["r-2"]
    assert _ids(admin_client, user_id="ana", session_id="s-2") == []
    assert _ids(admin_client, tag="x") == ["r-5", "r-3", "r-1"]
    assert _ids(admin_client, tag="a b", user_id="ana") == ["r-5", "r-3", "r-1"]
    assert _ids(admin_client, tag="A b") == _ids(admin_client, tag="a") == []
    assert _ids(admin_client, tag="!!", user_id="bo") == ["r-4", "r-2", "r-0"]
    assert "Filter by user or session too" in _page(admin_client, tag="!!")
    assert _ids(admin_client, **{"from": "2026-02-01"}) == ["r-5", "r-4", "r-3", "r-2"]
    assert _ids(admin_client, to="2026-01-31") == ["r-1", "r-0"]
    assert _ids(admin_client, **{"from": "2026-02-01", "to": "2026-02-01", "q": "output"}) == ["r-3", "r-2"]
    assert len(_ids(admin_client, to="9999-12-31")) == 6
    assert _ids(admin_client, **{"from": "31.1.2026"}) == []
    assert "is not valid. Enter it as YYYY-MM-DD" in _page(admin_client, to="x")


def test_a_form_keeps_what_else_was_asked_for(admin_client: Client) -> None:
    page = _page(admin_client, created_at__gte="2020-01-01 00:00:00Z", user_id='a"b', q="wo")
    start = page.index('id="changelist-search"')
    form = page[start : page.index("</form>", start)]
    assert '<input type="hidden" name="created_at__gte" value="2020-01-01 00:00:00Z">' in form
    assert re.findall(r'name="(\w+)"', form) == ["q", "user_id", "session_id", "tag", "from", "to", "created_at__gte"]
    assert len(re.findall(r"<label for=", form)) == 6


def test_a_search_asks_the_database_little_however_many_rows_there_are(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    for number in (3, 60):
        _put(*(ReflectionFactory(id=f"r-{n}", input="word") for n in range(number)))
        _index()
        with django_assert_max_num_queries(13) as asked:
            assert len(_ids(admin_client, q="word")) == min(number, 50)
        with django_assert_max_num_queries(13):
            _page(admin_client, q="word", user_id="ana")
        about = [one["sql"] for one in asked.captured_queries if "te_reflections" in one["sql"]]
        assert [sql for sql in about if "LIMIT" not in sql and number == 60] == []


@pytest.mark.slow
def test_a_search_counts_a_bounded_number_of_matches(admin_client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr("orbsite.admin.records.search.MOST_MATCHES", 3)
    _put(*(ReflectionFactory.build(input=f"kyoto {number}") for number in range(5)), ReflectionFactory.build(input="b"))
    _index()
    for query, shown in ({"q": "kyoto"}, "3+"), ({"q": '"kyoto 1"'}, "1"), ({}, "6"):
        paginator = admin_client.get(LIST, query).context["cl"].paginator
        assert str(paginator.count) == shown
        assert paginator.num_pages == 1


def test_hostile_texts_are_queries_like_any_other(admin_client: Client) -> None:
    texts = naughty_strings()
    assert len(texts) == 515
    _put(*(ReflectionFactory(id=f"r-{n}", input=text) for n, text in enumerate(texts) if "\0" not in text))
    _index()
    for text in texts[::6]:  # tests/search looks for all of them
        assert admin_client.get(LIST, {"q": text}).status_code in (200, 302), text
    for text in texts[::40]:
        for name in ("user_id", "session_id", "tag", "from", "to"):
            assert admin_client.get(LIST, {name: text}).status_code in (200, 302), text


def _session(user: str, session: str) -> str:
    return reverse("admin:session", args=[quote(user), quote(session)])


def _shown(client: Client, address: str) -> list[str]:
    answer = client.get(address)
    assert answer.status_code == 200
    return [turn["row"].id for turn in answer.context["turns"]]


def test_a_session_is_read_from_its_beginning(viewer: Client, admin_client: Client) -> None:
    _put(
        ReflectionFactory(id="b", session_id="s", input="then", tags=("t/&",), notes="a note", created_at=DAY),
        ReflectionFactory(id="a", session_id="s", input="<script>first</script>", created_at=DAY - timedelta(days=1)),
        ReflectionFactory(id="c", session_id="s", user_id="bo", created_at=DAY),
        ReflectionFactory(id="d", session_id="t", created_at=DAY),
    )
    assert _shown(viewer, _session("ana", "s")) == ["a", "b"]
    page = viewer.get(_session("ana", "s")).content.decode()
    assert page.index("&lt;script&gt;first") < page.index("then") < page.index("a note")
    assert "<script>first" not in page
    assert f"/admin/te/reflectionrow/{ReflectionRow.objects.get(id='b').pk}/change/" in page
    (of_tag,) = [html.unescape(one) for one in re.findall(r'href="([^"]*tag=t[^"]*)"', page)]
    assert _ids(admin_client, user_id="ana", tag="t/&") == ["b"]
    assert of_tag == f"{LIST}?{urlencode({'user_id': 'ana', 'tag': 't/&'})}"
    assert _session("ana", "s") in viewer.get(LIST).content.decode()


def test_long_sessions_have_pages_that_neither_skip_nor_repeat(admin_client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(session_view, "TURNS", 3)
    names = [f"r-{number}" for number in range(8)]
    moments = [DAY, DAY, DAY, DAY, DAY, DAY + timedelta(seconds=1), DAY + timedelta(seconds=1), DAY + timedelta(days=1)]
    _put(*(ReflectionFactory(id=n, session_id="s", created_at=at) for n, at in zip(names, moments, strict=True)))
    address = _session("ana", "s")
    pages, links = [], []
    following: str | None = address
    while following:
        pages.append(_shown(admin_client, following))
        page = admin_client.get(following).content.decode()
        later, earlier = (re.findall(rf'<a href="(\?{name}=[^"]*)"', page) for name in ("after", "before"))
        links.append((bool(earlier), bool(later)))
        following = address + later[0] if later else None
        back = earlier
    assert pages == [names[:3], names[3:6], names[6:]]
    assert links == [(False, True), (True, True), (True, False)]
    assert _shown(admin_client, address + back[0]) == names[3:6]
    page = admin_client.get(address + back[0]).content.decode()
    (before,) = re.findall(r'<a href="(\?before=[^"]*)"', page)
    assert _shown(admin_client, address + before) == names[:3]
    assert "before=" not in admin_client.get(address + before).content.decode()


@pytest.mark.parametrize(
    "name", [".", "..", "a/b", "a b", "é%2F", "x_2F", "_2E", "?#&=", '"', "\\", "\n", "用户🚀", "%"]
)
def test_any_id_has_a_session_page(admin_client: Client, name: str) -> None:
    _put(ReflectionFactory(id="r", user_id=name, session_id=name))
    address = _session(name, name)
    assert not {".", ".."} & set(address.split("/"))
    assert _shown(admin_client, address) == ["r"]
    assert html.escape(address) in admin_client.get(LIST).content.decode()


def test_what_is_not_there_or_not_for_one_to_see_is_not_found(
    admin_client: Client, django_user_model: Any, monkeypatch: Any
) -> None:
    _put(ReflectionFactory(id="r", session_id="s"))
    address = _session("ana", "s")
    for wrong in (_session("ana", "t"), _session("bo", "s"), LIST + "session/%00/s/"):
        assert admin_client.get(wrong).status_code == 404
    for cursor in ("x", "W10", "é", "WyJ4IiwieSJd", "WyIyMDI2LTAxLTAxIiwieSJd", BEFORE_YEAR_1):
        assert admin_client.get(address, {"after": cursor}).status_code == 404
    nobody = Client()
    nobody.force_login(django_user_model.objects.create_user("nobody", password="x", is_staff=True))
    assert nobody.get(address).status_code == 404
    assert Client().get(address).status_code == 302


def test_a_very_long_text_is_cut_with_a_link_to_all_of_it(admin_client: Client) -> None:
    _put(ReflectionFactory(id="r", session_id="s", output="x" * (session_view.LONGEST + 1)))
    page = admin_client.get(_session("ana", "s")).content.decode()
    assert "x" * session_view.LONGEST in page
    assert "x" * (session_view.LONGEST + 1) not in page
    assert "This text is shortened" in page
