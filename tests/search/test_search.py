"""Search finds what it should, the same on every database."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.management import call_command
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from orbsite.models.search_index import Words
from orbsite.operations import search_index as operation
from orbsite.operations.jobs.jobs import start
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.records.delete import remove
from orbsite.operations.records.edit import edit
from orbsite.operations.records.erase import erase
from orbsite.operations.scheduling.maintenance import maintain
from orbsite.search import indexer as indexing
from orbsite.search import search
from orbsite.search.analyzer import document, fold, words
from orbsite.search.indexer import SearchIndex
from orbsite.search.plan import SearchPlan
from orbsite.search.query import read
from orbsite.storage.errors import OrbError
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import ReflectionFactory
from tests.support.suites import naughty_strings

pytestmark = pytest.mark.django_db(databases="__all__")
NOW = datetime(2026, 1, 1, tzinfo=UTC)

TEXTS = {
    "deploy": "Deploy the Größe-Service, naïve café, re-deployed at 10:30",
    "book": "予約を確認した。東京都の天気は晴れ",
    "thai": "ฉันรักภาษาไทยมาก",
    "emoji": "rocket 🚀🚀 launched 👨‍👩‍👧 to the moon ☑️",
    "quotes": "she said \"don't panic\" — c'est la vie; SELECT * FROM x -- %_",
    "korean": "한국어 문장을 검색합니다",
    "hindi": "हिन्दी में खोज",
    "greek": "ΟΔΥΣΣΕΥΣ και Ὀδυσσεύς",
    "turkish": "İstanbul ISPARTA ﬁne ①②",
    "long": "begin " + "の " * 700 + "東 " * 20 + "end of it " + "x" * 3000,
    "kana": "ｶﾞｷﾞｸﾞ ガラス パン",
}
CASES = [
    ("deploy", {"deploy"}),
    ("DEPLOY", {"deploy"}),
    ("depl", {"deploy"}),
    ("depl grosse", {"deploy"} - {"deploy"}),  # only the last word may be a beginning
    ("grosse depl", {"deploy"}),
    ("größe", {"deploy"}),
    ("GRÖSSE", {"deploy"}),
    ("gro\u0308sse", {"deploy"}),
    ("naive CAFE", {"deploy"}),
    ("re-deployed", {"deploy"}),
    ("deployed-re", set()),
    ('"the grosse service"', {"deploy"}),
    ('"grosse the service"', set()),
    ('"the grosse serv"', set()),
    ("10:30", {"deploy"}),
    ("e", set()),  # a single letter is a whole word
    ("予約", {"book"}),
    ("約予", set()),
    ("確認した", {"book"}),
    ("京都", {"book"}),  # a part of any word: there are no spaces to tell
    ("天気 東京", {"book"}),
    ("天気 大阪", set()),
    ("東京 -天気", set()),
    ("ภาษา", {"thai"}),
    ("รัก", {"thai"}),
    ("ไทยรัก", set()),
    ("🚀", {"emoji"}),
    ("🚀🚀", {"emoji"}),
    ("🚀🚀🚀", set()),
    ("👧", {"emoji"}),
    ("☑", {"emoji"}),
    ("moon -rocket", set()),
    ("moon -mars", {"emoji"}),
    ('moon -"moon to"', {"emoji"}),
    ('moon -"the moon"', set()),
    ("don't panic", {"quotes"}),
    ("dont", set()),
    ("'--", set()),
    ("%", set()),
    ("select from", {"quotes"}),
    ("한국", {"korean"}),
    ("국어", set()),  # Korean has spaces
    ("문장을 한국어", {"korean"}),
    ("हिन्दी", {"hindi"}),
    ("οδυσσευς", {"greek"}),
    ("Ὀδυσσεὺς", {"greek"}),
    ("istanbul", {"turkish"}),
    ("fine 12", {"turkish"}),
    ("ガギグ", {"kana"}),
    ("ｶﾞﾗｽ", {"kana"}),
    ("カラス", set()),
    ('"の の 東 東"', {"long"}),
    ('"の 東 東"', {"long"}),
    ('"東 end of"', {"long"}),  # beyond the positions that an index keeps of one word
    ("x" * 3000, {"long"}),
    ("output grosse", {"deploy"}),  # over all texts of a record
    ('"10 30 output"', set()),  # but no phrase from one into the next
    ("tagged", set(TEXTS)),
    ("-tagged", set()),
    ("", set()),
    ('"', set()),
    ("-", set()),
    ("AND OR NOT NEAR(", set()),
]


@pytest.fixture(params=["default", "postgresql"])
def store(request: pytest.FixtureRequest) -> SqlStore:
    if request.param == "postgresql":
        request.getfixturevalue("postgresql_alias")
    return SqlStore(DOMAIN, request.param)


@pytest.fixture
def index(store: SqlStore) -> SearchIndex:
    return SearchIndex(DOMAIN, Reflection, store.using)


def now() -> datetime:
    return NOW


def caught_up(index: SearchIndex) -> Any:
    while not (done := index.go_on(now)).is_over:
        pass
    return done


def hits(store: SqlStore, text: str, **where: str) -> set[str]:
    found = search.search(ReflectionRow.objects.using(store.using).filter(**where), read(text))
    rows = ReflectionRow.objects.using(store.using).filter(found.condition, **where)
    return set(rows.values_list("id", flat=True))


def filled(store: SqlStore) -> None:
    store.put([ReflectionFactory(id=name, input=text, tags=("Tagged",)) for name, text in TEXTS.items()])


@pytest.fixture(params=["rare", "frequent", "not indexed"])
def searched(
    request: pytest.FixtureRequest, store: SqlStore, index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> SqlStore:
    """Each of the ways in which a search goes."""
    filled(store)
    if request.param != "not indexed":
        caught_up(index)
        monkeypatch.setattr(search, "NEWEST", 0)
        monkeypatch.setattr(SearchPlan, "reads_index", request.param == "rare")
    return store


def test_a_query_finds_what_it_should(searched: SqlStore) -> None:
    assert {text: hits(searched, text) for text, _ in CASES} == dict(CASES)


def test_words_that_are_not_there_any_more_find_nothing(store: SqlStore, index: SearchIndex) -> None:
    filled(store)
    caught_up(index)
    store.put([ReflectionFactory(id="deploy", input="another text")])
    store.delete(Reflection, [("ana", "book")])
    assert hits(store, "grosse") == set()
    assert hits(store, "予約") == set()
    assert hits(store, "another") == {"deploy"}  # though the index has not heard of it
    assert Words.objects.using(store.using).filter(key="book").exists()
    done = caught_up(index)
    assert (done.indexed, done.removed) == (1, 1)
    assert hits(store, "another") == {"deploy"}
    assert not Words.objects.using(store.using).filter(key="book").exists()


def test_words_count_only_for_the_digest_that_they_were_read_of(
    store: SqlStore, index: SearchIndex, monkeypatch: Any
) -> None:
    filled(store)
    caught_up(index)
    monkeypatch.setattr(search, "NEWEST", 0)
    store.put([ReflectionFactory(id="deploy", input="another text")])
    for reads_index in (True, False):
        monkeypatch.setattr(SearchPlan, "reads_index", reads_index)
        assert hits(store, "grosse") == set()
        assert hits(store, "another") == set()
        assert hits(store, "京都") == {"book"}


def test_what_was_saved_since_is_found_among_the_newest_alone(
    store: SqlStore, index: SearchIndex, monkeypatch: Any
) -> None:
    monkeypatch.setattr(search, "NEWEST", 2)
    store.put(ReflectionFactory(id=f"r-{number}", input=f"number {number}", user_id="bo") for number in range(3))
    found = search.search(ReflectionRow.objects.using(store.using), read("number"))
    assert found.unknown == 2
    assert hits(store, "number") == {"r-1", "r-2"}
    store.put([ReflectionFactory(id=f"other-{number}", user_id="ana") for number in range(3)])
    assert hits(store, "number") == set()
    assert hits(store, "number", user_id="bo") == {"r-1", "r-2"}  # the newest of those that are asked for
    caught_up(index)
    assert hits(store, "number") == {"r-0", "r-1", "r-2"}


def test_a_search_is_within_what_is_asked_for(store: SqlStore, index: SearchIndex) -> None:
    store.put([ReflectionFactory(id=user, user_id=user, session_id="s", input="same words") for user in ("ana", "bo")])
    caught_up(index)
    assert hits(store, "same words") == {"ana", "bo"}
    assert hits(store, "same words", user_id="bo") == {"bo"}
    assert hits(store, "same words", user_id="bo", session_id="t") == set()


def test_a_store_that_is_searched_is_read_as_any_other(store: SqlStore, index: SearchIndex, monkeypatch: Any) -> None:
    monkeypatch.setattr(search, "_PAGE", 2)
    made = [
        ReflectionFactory(input="word" if number % 3 else "other", tags=(f"t{number % 2}",)) for number in range(20)
    ]
    store.put([*made, ReflectionFactory(user_id="bo", input="word")])
    caught_up(index)
    mine = {"user_id": "ana"}
    wanted = [one for one in reversed(made) if one.input == "word"]
    searched = search.Searched(store.domain, store.using, Reflection, read("word"), mine)
    assert searched.find(Reflection, mine) == wanted
    assert searched.find(Reflection, mine, oldest_first=True) == wanted[::-1]
    assert searched.find(Reflection, mine, limit=5) == wanted[:5]
    assert searched.find(Reflection, mine, limit=5, after=wanted[4].order) == wanted[5:10]
    assert searched.find(Reflection, mine, tag="t1", limit=4) == [one for one in wanted if one.tags == ("t1",)][:4]
    times = {"since": wanted[8].created_at, "until": wanted[3].created_at}
    assert searched.find(Reflection, mine, **times) == wanted[4:9]
    assert searched.find(Reflection, {"user_id": "\0"}) == []
    assert (
        search.Searched(store.domain, store.using, Reflection, read("word"), {"user_id": "\0"}).find(Reflection) == []
    )


def test_a_pass_is_gone_on_with_and_misses_nothing(store: SqlStore, index: SearchIndex, monkeypatch: Any) -> None:
    monkeypatch.setattr(indexing, "PAGE", 3)
    monkeypatch.setattr(search, "NEWEST", 0)
    store.put([ReflectionFactory(id=f"r-{number}", input="word") for number in range(8)])
    assert (index.go_on(now).after, index.position().after, index.position().ended_at) == (
        ("ana", "r-2"),
        '["ana","r-2"]',
        None,
    )
    assert len(hits(store, "word")) == 3
    store.put([ReflectionFactory(id="r-0", input="other"), ReflectionFactory(id="r-7", input="other")])
    store.delete(Reflection, [("ana", "r-4")])
    report = operation.index([DOMAIN], now=now, using=store.using)
    told = report.domains["te"].counts["reflections"]
    assert (told["read"], told["indexed"], told["removed"]) == (7, 5, 0)
    assert hits(store, "word") == {f"r-{number}" for number in (1, 2, 3, 5, 6)}
    assert hits(store, "other") == {"r-0", "r-7"}
    again = operation.index([DOMAIN], now=now, using=store.using).domains["te"].counts["reflections"]
    assert (again["read"], again["indexed"]) == (7, 0)
    assert index.position().ended_at == NOW
    anew = operation.index([DOMAIN], now=now, anew=True, using=store.using).domains["te"].counts["reflections"]
    assert anew["indexed"] == 7


def test_words_of_what_is_gone_go_wherever_they_stand(store: SqlStore, index: SearchIndex, monkeypatch: Any) -> None:
    monkeypatch.setattr(indexing, "PAGE", 2)
    names = [f"r-{number}" for number in range(7)]
    store.put([ReflectionFactory(id=name, input="word") for name in names])
    caught_up(index)
    kept = {"r-1", "r-3"}
    store.delete(Reflection, [("ana", name) for name in names if name not in kept])
    operation.index([DOMAIN], now=now, using=store.using)
    assert set(Words.objects.using(store.using).values_list("key", flat=True)) == kept
    store.delete(Reflection, [("ana", name) for name in kept])
    operation.index([DOMAIN], now=now, using=store.using)
    assert not Words.objects.using(store.using).exists()


def test_a_round_of_maintenance_does_a_part(monkeypatch: Any) -> None:
    monkeypatch.setattr(indexing, "PAGE", 2)
    monkeypatch.setattr(operation, "MOST_INDEXED", 3)
    SqlStore(DOMAIN).put([ReflectionFactory(id=f"r-{number}") for number in range(7)])
    told = [maintain(now=now).domains for _ in range(3)]
    assert [one["maintenance"].facts.get("words_changed") for one in told[:2]] == [4, 3]
    assert "maintenance" not in told[2] or "words_changed" not in told[2]["maintenance"].facts


def test_maintenance_tells_of_a_search_that_cannot_be_caught_up(monkeypatch: Any) -> None:
    def fail(*_: Any, **__: Any) -> int:
        raise OrbError("no words")

    monkeypatch.setattr("orbsite.operations.scheduling.maintenance.index_some", fail)
    report = maintain(now=now)
    assert report.exit_code == 1
    assert "no words" in report.domains["maintenance"].findings[0].message


def test_a_pass_that_finds_nothing_to_do_writes_nothing(index: SearchIndex, django_assert_num_queries: Any) -> None:
    SqlStore(DOMAIN).put([ReflectionFactory()])
    here = SearchIndex(DOMAIN, Reflection)
    caught_up(here)
    with django_assert_num_queries(3) as queries:
        caught_up(here)
    assert all(one["sql"].startswith("SELECT") for one in queries.captured_queries)


def test_a_row_that_does_not_decode_is_counted_and_hinders_nothing(store: SqlStore, index: SearchIndex) -> None:
    filled(store)
    ReflectionRow.objects.using(store.using).filter(id="thai").update(tags=[5])
    assert caught_up(index).unreadable == 1
    assert hits(store, "ภาษา") == set()
    assert hits(store, "予約") == {"book"}


@pytest.mark.slow
def test_hostile_texts_are_stored_and_looked_for(store: SqlStore, index: SearchIndex) -> None:
    texts = naughty_strings()
    assert len(texts) == 515
    texts = [text for text in texts if "\x00" not in text]
    store.put([ReflectionFactory(id=f"r-{number}", input=text, output="") for number, text in enumerate(texts)])
    caught_up(index)
    for number, text in enumerate(texts):
        wanted = read(text)
        assert (f"r-{number}" in hits(store, text)) or wanted.is_empty or wanted.without, text


@settings(max_examples=300)
@given(st.text(max_size=40), st.text(max_size=30))
def test_any_text_is_a_query(text: str, more: str) -> None:
    wanted = read(text)
    assert read(text.upper()) == wanted or fold(text.upper()) != fold(text)
    assert all(words(word) == [word] for word, _ in wanted.words)
    quoted = '"' + text.replace('"', " ") + '"'
    assert read(quoted).is_empty or read(quoted).matches(document([more, text, more]))
    assert fold(fold(text)) == fold(text)


def test_every_character_folds_to_what_stays() -> None:
    for point in (*range(0xD800), *range(0xE000, 0x20000), *range(0x2F800, 0x2FA20), *range(0xE0000, 0xE0200)):
        folded = fold(chr(point))
        assert fold(folded) == folded
        assert not set(" |\"'\\*") & set("".join(words(chr(point))))


def test_only_so_many_different_words_of_a_record_count() -> None:
    monster = document([" ".join(f"w{number}" for number in range(200_000)), "tail"])
    assert " w0 w1 " in monster
    assert " tail " not in monster
    assert len(set(monster.split())) < 200_000
    assert len("".join(set(monster.split())).encode()) <= 500_000
    assert " tail " in document(["same " * 300_000, "tail"])


@pytest.mark.parametrize("where", ["default", "postgresql"])
def test_the_largest_record_has_room_in_the_index(request: pytest.FixtureRequest, where: str) -> None:
    if where == "postgresql":
        request.getfixturevalue("postgresql_alias")
    store = SqlStore(DOMAIN, where)
    text = "".join(chr(0x4E00 + number % 20_000) for number in range(60_000)) + " ".join(map(str, range(200_000)))
    store.put([ReflectionFactory(id="monster", input=text), ReflectionFactory(id="w", input="w" * 5_000_000)])
    caught_up(SearchIndex(DOMAIN, Reflection, where))
    assert hits(store, "一丁丂") == {"monster"}
    assert hits(store, "w" * 100) == {"w"}


def test_the_words_of_a_user_go_with_the_user(tmp_path: Path) -> None:
    store = SqlStore(DOMAIN)
    store.put([ReflectionFactory(id=user, user_id=user, input="secret") for user in ("ana", "bo")])
    caught_up(SearchIndex(DOMAIN, Reflection))
    store.delete(Reflection, [("ana", "ana")])  # before, and its words are still there
    erase([store], "ana", base=tmp_path)
    assert list(Words.objects.values_list("key", flat=True)) == ["bo"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orb_words_index WHERE orb_words_index MATCH 'secret'")
        assert cursor.fetchone() == (1,)


def test_who_is_erased_while_the_index_reads_is_not_written_back(
    store: SqlStore, index: SearchIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put([ReflectionFactory(user_id="ana"), ReflectionFactory(user_id="bo", id="kept", input="before")])
    made = SearchIndex._current_words

    def late(self: SearchIndex, *arguments: Any) -> Any:
        found = made(self, *arguments)
        monkeypatch.setattr(SearchIndex, "_current_words", made)
        store.delete_where(Reflection, {"user_id": "ana"})
        store.put([ReflectionFactory(user_id="bo", id="kept", input="after")])
        return found

    monkeypatch.setattr(SearchIndex, "_current_words", late)
    index.go_on(now)
    assert not Words.objects.using(store.using).exists()
    caught_up(index)
    assert [(one.key, "after" in one.words) for one in Words.objects.using(store.using)] == [("kept", True)]


def test_an_erasure_removes_rows_that_do_not_decode(tmp_path: Path) -> None:
    store = SqlStore(DOMAIN)
    store.put([ReflectionFactory(id=str(at), user_id="ana") for at in range(3)])
    ReflectionRow.objects.filter(id="1").update(tags=[1])
    report = erase([store], "ana", base=tmp_path)
    assert (report.ok, report.domains["te"].counts["reflections"]["erased"]) == (True, 3)
    assert not ReflectionRow.objects.exists()


def test_what_is_edited_by_hand_is_found_at_once(monkeypatch: Any, django_capture_on_commit_callbacks: Any) -> None:
    store = SqlStore(DOMAIN)
    record = ReflectionFactory(id="old", input="before")
    store.put([record])
    caught_up(SearchIndex(DOMAIN, Reflection))
    monkeypatch.setattr(search, "NEWEST", 0)
    with django_capture_on_commit_callbacks(execute=True):
        edit(store, msgspec.structs.replace(record, input="afterwards"), hand=Actor(actor="eve", at=NOW))
    assert hits(store, "afterwards") == {"old"}
    with django_capture_on_commit_callbacks(execute=True):
        remove(store, Reflection, [("ana", "old")], hand=Actor(actor="eve", at=NOW))
    assert not Words.objects.exists()


def test_a_job_and_a_command_catch_up(django_capture_on_commit_callbacks: Any, capsys: Any) -> None:
    SqlStore(DOMAIN).put([ReflectionFactory(id="r")])
    with django_capture_on_commit_callbacks(execute=True):
        job = start("index", {"only": ["te"]}, now=now)
    job.refresh_from_db()
    assert (job.state, job.result["domains"]["te"]["indexed"]) == ("done", 1)
    call_command("index_orb_search", "--format", "json", "--anew", "--only", "te")
    assert json.loads(capsys.readouterr().out)["domains"]["te"]["indexed"] == 1


def test_the_index_keeps_in_step_with_the_table_whoever_writes_it() -> None:
    SqlStore(DOMAIN).put([ReflectionFactory(id="r", input="one")])
    caught_up(SearchIndex(DOMAIN, Reflection))
    Words.objects.update(words=" two ")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orb_words_index WHERE orb_words_index MATCH 'one'")
        assert cursor.fetchone() == (0,)
        cursor.execute("INSERT INTO orb_words_index(orb_words_index, rank) VALUES ('integrity-check', 1)")
    Words.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orb_words_index WHERE orb_words_index MATCH 'two'")
        assert cursor.fetchone() == (0,)
