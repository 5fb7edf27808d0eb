"""A page that is printed from rows is, to the last byte, the page that is printed from records."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.test import override_settings

from orbsite.api import views
from orbsite.api.renderers import encoded_list
from orbsite.storage.base.query import Query, memory_size
from orbsite.storage.base.store import PrintedPage
from orbsite.storage.records.record import Extra
from orbsite.storage.sql.row_decoder import _max_memory
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from te.records import Reflection
from tests.api.conftest import Caller
from tests.support.bad_cells import OF_POSTGRESQL, OF_SQLITE, Cell, reflections, spoil
from tests.support.factories import BEGIN

pytestmark = pytest.mark.django_db(databases="__all__")
ADDRESS = "/api/v1/users/ana/reflections"
QUERIES = (
    "",
    "?limit=1",
    "?limit=3",
    "?session=s",
    "?session=none",
    "?from=2024-01-01T02:00:00.5Z",
    "?from=2024-01-01T01:00:00Z&to=2024-01-01T05:00:00Z&limit=2",
    "?tag=x",
    "?text=INPUT",
)
MOMENTS = [timedelta(microseconds=one) for one in (0, 1, 10, 999, 1_000, 120_000, 999_999)]
TEXTS = ["plain", "", "zwölf\n\t\\", 'a "quoted" one', "予約 💥", "\x7f\u2028\ue000", "3.14159265 \\u0000", "é"]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch) -> SqlStore:
    settings.ORB_PERSISTENCE = "sql"
    alias = "default" if request.param == "sqlite" else request.getfixturevalue("postgresql_alias")
    opened = SqlStore(DOMAIN, alias)
    monkeypatch.setitem(views._opened, (DOMAIN.name, None), opened)
    return opened


@pytest.fixture
def compared(ana: Caller, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Compare the pages of all queries with those of records; return how many with records were printed from rows."""
    number = 0
    print_rows = SqlStore.printed

    def printed(store: SqlStore, kind: Any, query: Query) -> PrintedPage | None:
        nonlocal number
        page = print_rows(store, kind, query)
        number += page is not None and page.items != b"[]"
        return page

    def ask(address: str, **headers: str) -> tuple[Any, ...]:
        answer = ana.get(address, **headers)
        return answer.status_code, answer.content, {**answer.headers, "X-Request-ID": None}

    def from_both(address: str) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(SqlStore, "printed", printed)
            ours = ask(address)
            assert ask(address, If_None_Match=ours[2]["ETag"])[0] == 304
        with monkeypatch.context() as patch:
            patch.setattr(SqlStore, "printed", lambda *_: None)
            assert ask(address) == ours
        assert ours[0] == 200
        content: bytes = ours[1]
        return content

    def compare() -> int:
        nonlocal number
        number = 0
        for query in QUERIES:
            following = f"{ADDRESS}{query}"
            while following:
                following = msgspec.json.decode(from_both(following))["next"]
        return number

    return compare


def _odd() -> list[Reflection]:
    return [
        msgspec.structs.replace(
            one,
            input=TEXTS[number % len(TEXTS)],
            notes=[None, *TEXTS][number % (len(TEXTS) + 1)],
            tags=[(), tuple(TEXTS), ("x",), ("", "x")][number % 4],
            created_at=BEGIN + timedelta(minutes=20 * number) + MOMENTS[number % len(MOMENTS)],
        )
        for number, one in enumerate(reflections(26))
    ]


@pytest.mark.slow
def test_rows_of_every_text_and_time_are_printed_as_their_records_are(
    store: SqlStore, compared: Callable[[], int]
) -> None:
    assert compared() == 0
    store.put(_odd())
    assert compared() > 0


def test_a_page_of_usual_rows_is_printed_without_records(store: SqlStore) -> None:
    records = reflections()
    store.put(records)
    page = store.printed(Reflection, Query(where={"user_id": "ana"}, limit=5, max_bytes=1 << 20))
    assert page is not None
    assert page.items == encoded_list(Reflection, records[:1:-1])
    assert page.following == records[2].order
    page = store.printed(Reflection, Query(where={"user_id": "ana"}, limit=7, max_bytes=1 << 20))
    assert page is not None
    assert page.following is None


def test_an_unknown_key_is_shown(store: SqlStore, compared: Callable[[], int]) -> None:
    first, *others = reflections()
    store.put([msgspec.structs.replace(first, extra=Extra(mood=1e16, ä=[None])), *others])
    assert compared() > 0  # pages without it


def test_a_time_in_another_format_is_the_same_time(store: SqlStore, compared: Callable[[], int]) -> None:
    if store.using != "default":
        pytest.skip("PostgreSQL has one format")
    store.put(reflections())
    for number, text in enumerate(("2024-01-01T00:00:00Z", "2024-01-01 01:00:00.5", "2024-01-01 02:00:00.000000")):
        spoil(store.using, Cell("created_at", f"'{text}'"), "abc"[number])
    assert compared() > 0


@pytest.mark.slow
@pytest.mark.parametrize("is_last", [True, False])
def test_a_row_that_does_not_decode_becomes_a_finding(
    store: SqlStore, compared: Callable[[], int], *, is_last: bool
) -> None:
    cells = OF_SQLITE if store.using == "default" else OF_POSTGRESQL
    for cell in cells[is_last::2]:
        if cell.column in ("user_id", "session_id"):
            continue
        store.put(reflections())
        spoil(store.using, cell, "a" if is_last else "d")
        compared()
        where = Query(where={"user_id": "ana"}, limit=7, max_bytes=1 << 20)
        assert store.printed(Reflection, where) is None, cell.id
        store.delete(Reflection, [(one.owner, one.id) for one in reflections()])
        store._rows(Reflection).filter(user_id="ana").delete()


@pytest.mark.slow
@pytest.mark.parametrize("max_bytes", [1, 500, 5_000, 12_000])
def test_a_page_that_may_be_too_large_is_cut_where_it_was(
    store: SqlStore, compared: Callable[[], int], settings: Any, max_bytes: int
) -> None:
    settings.ORB_API_PAGE_BYTES = max_bytes
    store.put(_odd())
    compared()
    assert store.printed(Reflection, Query(where={"user_id": "ana"}, limit=26, max_bytes=max_bytes)) is None


@pytest.mark.parametrize("text", ["orb:sealed:1:", "orb:plain:1:a", "orb:", "a orb:sealed:1:", '"orb:sealed:1:'])
def test_a_text_like_a_sealed_one_is_shown_as_it_was_saved(
    store: SqlStore, compared: Callable[[], int], text: str
) -> None:
    store.put([msgspec.structs.replace(one, output=text, tags=("x", text)) for one in reflections()])
    compared()
    (found,) = store.find(Reflection, {"user_id": "ana"}, limit=1)
    assert (found.output, found.tags) == (text, ("x", text))


@pytest.mark.slow
def test_sealed_rows_are_opened(store: SqlStore, compared: Callable[[], int]) -> None:
    with override_settings(ORB_KEYS=f"k:{base64.b64encode(b'k' * 32).decode()}"):
        store.put(_odd())
        cell = store._rows(Reflection).values_list("input", flat=True)[0]
        assert cell.startswith("orb:sealed:")
        assert compared() > 0
    without_keys = store.printed(Reflection, Query(where={"user_id": "ana"}, limit=7, max_bytes=1 << 20))
    assert without_keys is None


def test_records_take_no_more_memory_than_is_allowed_for(store: SqlStore) -> None:
    wide = [
        msgspec.structs.replace(one, tags=(char,) * 30, input=char * 300) for char in "aé予💥\x01" for one in _odd()
    ]
    for record in [*_odd(), *wide]:
        printed = encoded_list(Reflection, [record])  # which also keeps the UTF-8 of each text in memory
        assert memory_size(record) <= _max_memory(printed, 0) < memory_size(record) * 12
        assert _max_memory(printed, 0) < _max_memory(printed, 1 << 20)
    assert store.count(Reflection) == 0
