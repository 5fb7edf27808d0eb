"""A search finds the same rows by the index, by the rows and by looking at every record, on every database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import attrgetter

import msgspec
import pytest
from django.db import connections

from orbsite.search import backends, search
from orbsite.search.analyzer import document
from orbsite.search.index_query import IndexQuery
from orbsite.search.indexer import SearchIndex, texts_of
from orbsite.search.plan import SearchPlan
from orbsite.search.query import Phrase, Wanted, read
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db(databases="__all__")
TEXT = (
    "plan planning plane merge rent x 10:30 re-deployed Größe GRÖSSE naïve Καφές καφεσ заказ ЗАКАЗЫ İstanbul ﬁne ① "
    "予約 東京 予 天気 ไทย 한국어 한국 हिन्दी 🚀 🚀🚀 👨‍👩‍👧 ☑️ don't | -- % \\ _ ' e\u0301t\u00e9 ÉTÉ"
)
WORDS = TEXT.split()
RECORDS, QUERIES, NEWEST = 150, 500, 10


@pytest.fixture(params=["default", "postgresql"])
def store(request: pytest.FixtureRequest) -> SqlStore:
    if request.param == "postgresql":
        request.getfixturevalue("postgresql_alias")
    return SqlStore(DOMAIN, request.param)


def indexed(store: SqlStore) -> None:
    index = SearchIndex(DOMAIN, Reflection, store.using)
    while not index.go_on(lambda: datetime(2026, 1, 1, tzinfo=UTC)).is_over:
        pass


def a_text(draw: random.Random, most: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randrange(most)))


def a_record(draw: random.Random, number: int) -> Reflection:
    texts = {"input": a_text(draw, 8), "output": a_text(draw, 8), "notes": draw.choice([None, a_text(draw, 3)])}
    user, tags = draw.choice(["ana", "bo"]), tuple(draw.choices(WORDS, k=draw.randrange(3)))
    made: Reflection = ReflectionFactory(id=f"r-{number}", user_id=user, tags=tags, **texts)
    return made


def queries(draw: random.Random) -> Iterator[str]:
    for _ in range(QUERIES):
        parts = [
            draw.choice(["{}", "{}", "{}", '"{}"', '"{}"', "-{}", '-"{}"']).format(
                a_text(draw, 4) or draw.choice(WORDS)
            )
            for _ in range(draw.randrange(1, 4))
        ]
        text = " ".join(parts)
        yield text[: draw.randrange(1, len(text) + 1)] if draw.randrange(2) else text


class Table:
    """A table whose index is out of date: after it was indexed, records were changed, deleted and added."""

    def __init__(self, store: SqlStore, draw: random.Random) -> None:
        self._records = {one.id: one for one in (a_record(draw, number) for number in range(RECORDS))}
        store.put(self._records.values())
        indexed(store)
        changed = draw.sample(range(RECORDS), 20)
        store.delete(Reflection, [self._records.pop(f"r-{number}").key for number in changed[:10]])
        old = [self._records[f"r-{number}"] for number in changed[10:]]
        new = [msgspec.structs.replace(one, input=a_text(draw, 8)) for one in old if one.input]
        new += [a_record(draw, number) for number in range(RECORDS, RECORDS + 7)]
        store.put(new)
        self._records |= {one.id: one for one in new}
        self._unknown = {one.id for one in new}

    def found(self, wanted: Wanted, user: str | None) -> set[str]:
        """Return the ids that a search finds: those that match, if they are indexed or among the newest."""
        rows = [one for one in self._records.values() if user in (None, one.user_id)]
        newest = {one.id for one in sorted(rows, key=attrgetter("order"))[-NEWEST:]}
        known = [one for one in rows if one.id in newest or one.id not in self._unknown]
        return {one.id for one in known if not wanted.is_empty and wanted.matches(document(texts_of(one)))}


@pytest.mark.slow
def test_the_index_the_rows_and_every_record_agree(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "NEWEST", NEWEST)
    draw, found = random.Random(7), 0
    table = Table(store, draw)
    for number, text in enumerate(queries(draw)):
        wanted, user = read(text), draw.choice([None, None, "ana"])
        rows = ReflectionRow.objects.using(store.using).filter(**({"user_id": user} if user else {}))
        right = table.found(wanted, user)
        found += len(right)
        for reads_index in (True, False):
            monkeypatch.setattr(SearchPlan, "reads_index", reads_index)
            monkeypatch.setattr(SearchPlan, "counts_by_index", reads_index)
            result = search.search(rows, wanted, user)
            assert set(rows.filter(result.condition).values_list("id", flat=True)) == right, text
            most = number % 20 + 1
            assert (result.count(10_000), result.count(most)) == (len(right), min(most, len(right))), text
    assert found > QUERIES  # most queries find something


def test_pages_by_the_index_and_by_the_rows_are_the_same(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "NEWEST", NEWEST)
    draw = random.Random(8)
    table = Table(store, draw)
    for text in ("plan", "予", '"plan merge"', "rent -plan"):
        right = table.found(read(text), None)
        for reads_index in (True, False):
            monkeypatch.setattr(SearchPlan, "reads_index", reads_index)
            searched = search.Searched(DOMAIN, store.using, Reflection, read(text), {})
            found: list[Reflection] = []
            while page := searched.find(Reflection, limit=3, after=found[-1].order if found else None):
                found += page
            assert {one.id for one in found} == right
            assert [one.order for one in found] == sorted((one.order for one in found), reverse=True)


def test_a_count_is_of_the_rows_that_are_asked_for(store: SqlStore) -> None:
    store.put([ReflectionFactory(id=f"r-{at}", user_id="ana" if at % 3 else "bo", input="word") for at in range(9)])
    indexed(store)
    rows = ReflectionRow.objects.using(store.using)
    index = IndexQuery(ReflectionRow, read("word"), store.using)
    assert (index.count(rows.all(), 100), index.count(rows.filter(user_id="bo"), 100)) == (9, 3)
    assert index.count(rows.filter(user_id="ana"), 4) == 4
    assert index.count(rows.none(), 100) == 0


@pytest.mark.parametrize(
    ("word", "is_begun", "number"),
    [
        ("kitchen", False, 1),
        ("kitc", False, 0),
        ("kitc", True, 3),
        ("ki", True, 4),
        ("kit", True, 4),
        ("kitx", True, 0),
        ("kitchen", True, 2),
        ("予", True, 1),
    ],
)
def test_the_rows_of_a_word_are_counted(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, word: str, is_begun: bool, number: int
) -> None:
    texts = ("a kitchen", "kitchens", "kitcat", "kite kite", "kjt", "天気 予約")
    store.put([ReflectionFactory(id=f"r-{at}", input=text, output="", tags=()) for at, text in enumerate(texts)])
    indexed(store)
    wanted = Wanted((Phrase((word,), is_begun),))
    for most_terms in (backends.MOST_TERMS, 1):  # one by one, and where they are too many for that
        monkeypatch.setattr(backends, "MOST_TERMS", most_terms)
        index = IndexQuery(ReflectionRow, wanted, store.using)
        assert [index.rows_of_rarest_word(most) for most in (100, 2)] == [number, min(number, 2)]
        assert index.count(ReflectionRow.objects.using(store.using).all(), 100) == number


def test_the_words_of_other_users_are_not_read(store: SqlStore) -> None:
    store.put([ReflectionFactory(id=f"r-{at}", user_id="ana" if at % 3 else "bo", input="word") for at in range(9)])
    indexed(store)
    everybody = ReflectionRow.objects.using(store.using).all()
    index = IndexQuery(ReflectionRow, read("word"), store.using, "bo")
    assert index.count(everybody, 100) == 3
    assert everybody.filter(index.condition([])).count() == 3
    has_users = backends.backend_of(connections[store.using]).has_users
    assert index.rows_of_rarest_word(100) == (3 if has_users else 9)


def test_the_rarest_word_decides(store: SqlStore) -> None:
    texts = ["one two three"] * 2 + ["one two"] * 3 + ["one"] * 4
    store.put([ReflectionFactory(id=f"r-{at}", input=text, output="", tags=()) for at, text in enumerate(texts)])
    indexed(store)
    for text, number in (
        ("one", 9),
        ("one two", 5),
        ('"two one"', 5),
        ("one three", 2),
        ("one four", 0),
        ("one -two", 9),
    ):
        assert IndexQuery(ReflectionRow, read(text), store.using).rows_of_rarest_word(100) == number
    assert IndexQuery(ReflectionRow, read("one"), store.using).rows_of_rarest_word(7) == 7
