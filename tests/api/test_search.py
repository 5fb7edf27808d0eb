"""Full-text search over HTTP: of SQL alone, within a user, with cursors and the other conditions."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from orbsite.search import search
from orbsite.search.indexer import SearchIndex
from orbsite.storage.clock import utc_now
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from te.records import Reflection
from tests.api.conftest import Caller, listed, refused
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db
ALL = "/api/v1/users/ana/reflections"


@pytest.fixture
def sql(settings: Any) -> None:
    settings.ORB_PERSISTENCE = "sql"


def _fill(number: int) -> None:
    made = [ReflectionFactory(id=f"r-{n}", session_id=f"s-{n % 2}", input=f"Größe {n}") for n in range(number)]
    SqlStore(DOMAIN).put([*made, ReflectionFactory(id="bo", user_id="bo", input="Größe 1")])


def _ids(caller: Caller, query: str) -> list[str]:
    return [one["id"] for one in listed(caller, f"{ALL}?{query}")]


@pytest.mark.parametrize("is_indexed", [True, False])
def test_reflections_are_searched(ana: Caller, sql: None, is_indexed: bool, monkeypatch: Any) -> None:
    _fill(9)
    if is_indexed:
        SearchIndex(DOMAIN, Reflection).go_on(utc_now)
        monkeypatch.setattr(search, "NEWEST", 0)
    everything = [f"r-{n}" for n in reversed(range(9))]
    assert _ids(ana, "search=GROSSE&limit=2") == everything
    assert _ids(ana, "search=grosse+-3") == [one for one in everything if one != "r-3"]
    assert _ids(ana, "search=gros") == everything
    assert _ids(ana, 'search="grosse+4"') == ["r-4"]
    assert _ids(ana, "search=grosse&session=s-1&limit=3") == everything[1::2]
    assert _ids(ana, "search=grosse&text=7&tag=orb") == ["r-7"]
    assert _ids(ana, "search=grosse&tag=none") == []
    assert _ids(ana, "search=") == []
    assert _ids(ana, "search=%27%22%28*&limit=1") == []


def test_a_cursor_goes_with_the_search_that_it_was_made_under(ana: Caller, sql: None) -> None:
    _fill(4)
    following = ana.get(f"{ALL}?search=grosse&limit=1").json()["next"]
    assert ana.get(following).status_code == 200
    refused(ana.get(following.replace("grosse", "other")), 400)
    refused(ana.get(following.replace("search=grosse&", "")), 400)


@pytest.mark.parametrize("kept", ["memory", "file"])
def test_what_is_kept_elsewhere_is_not_searched_and_says_so(
    ana: Caller, settings: Any, tmp_path: Any, kept: str
) -> None:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = kept, tmp_path / ".orb-data"
    told = refused(ana.get(f"{ALL}?search=a"), 400, "invalid")
    assert [one["path"] for one in told["errors"]] == ["search"]
    assert "SQL" in told["errors"][0]["message"]
    assert ana.get(f"{ALL}?text=a").status_code == 200


def test_a_search_over_sealed_texts_is_off_and_says_so(ana: Caller, sql: None, settings: Any) -> None:
    settings.ORB_KEYS = f"k:{base64.b64encode(b'k' * 32).decode()}"
    told = refused(ana.get(f"{ALL}?search=a"), 400, "invalid")
    assert [one["path"] for one in told["errors"]] == ["search"]
    assert "sealed" in told["errors"][0]["message"]
    assert ana.get(f"{ALL}?text=a").status_code == 200


def test_a_search_is_sent_once_and_without_nul(ana: Caller, sql: None) -> None:
    refused(ana.get(f"{ALL}?search=a&search=b"), 400)
    refused(ana.get(f"{ALL}?search=%00"), 400)
    refused(ana.get("/api/v1/users/bo/reflections?search=a"), 404)
    assert ana.get("/api/v1/users/ana/reflections?search=%ED%A0%80").json()["items"] == []
