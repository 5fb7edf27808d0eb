from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from luna.domain import DOMAIN as LUNA
from luna.records import ActiveMode, Profile
from orbsite.models.ledger import Reject, Run
from orbsite.models.statistics import Growth
from orbsite.operations.files.compact import compact
from orbsite.operations.retention.apply import retain
from orbsite.operations.statistics.daily import note_growth
from orbsite.operations.statistics.stats import measure, stats
from orbsite.storage.base.store import Store
from orbsite.storage.file.store import FileStore
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.domain import Domain
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.store import SqlStore
from orbsite.storage.statistics.counts import statistics_of
from orbsite.stores import file_store
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.operations.files.test_compact import TE_DEAD, write
from tests.support.factories import ActiveModeFactory, ProfileFactory, ReflectionFactory

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def opened(name: str, domain: Domain, base: Path, alias: str = "default") -> Store:
    if name == "memory":
        return MemoryStore(domain)
    return file_store(domain, base) if name == "file" else SqlStore(domain, alias)


def filled(store: Store) -> Store:
    if store.domain is LUNA:
        store.put(
            [ProfileFactory(user_id=user, mode_id=mode) for user in ("ana", "bob") for mode in ("mars", "default")]
        )
        store.put([ProfileFactory(user_id="cleo", mode_id="mars"), ActiveModeFactory(user_id="ana", mode_id="mars")])
        return store
    for number, (session, days, tags) in enumerate(
        [
            ("s", 0, ("a", "a", "b")),
            ("s", 1, ("a",)),
            ("t", 1, ()),
            ("s", 1, ("é",)),
            ("u", 13, ("b",)),
            ("u", 400, ("Z", "ä")),
        ]
    ):
        store.put([ReflectionFactory(id=str(number), session_id=session, tags=tags, created_at=NOW - days * DAY)])
    return store


@pytest.fixture(params=["memory", "file", "sqlite", "postgresql"])
def open_store(request: pytest.FixtureRequest, data_dir: Path, db: None) -> Any:
    alias = request.getfixturevalue("postgresql_alias") if request.param == "postgresql" else "default"
    return lambda domain: filled(opened(request.param, domain, data_dir, alias))


@pytest.mark.django_db(databases=["default", "postgresql"])
def test_every_store_tells_the_same_of_reflections(open_store: Any) -> None:
    told = measure(open_store(TE), lambda: NOW)
    assert {name: told[name] for name in ("users", "sessions", "reflections", "invalid")} == {
        "users": 1, "sessions": 3, "reflections": 6, "invalid": 0,
    }  # fmt: skip
    assert (told["oldest"], told["newest"]) == ("2025-02-03T12:00:00.000Z", "2026-03-10T12:00:00.000Z")
    assert list(told["largest_sessions"].items()) == [("s", 3), ("u", 2), ("t", 1)]
    assert list(told["by_tag"].items()) == [("a", 2), ("b", 2), ("Z", 1), ("ä", 1), ("é", 1)]
    assert len(told["per_day"]) == 14
    assert {day: number for day, number in told["per_day"].items() if number} == {
        "2026-03-10": 1, "2026-03-09": 3, "2026-02-25": 1,
    }  # fmt: skip


@pytest.mark.django_db(databases=["default", "postgresql"])
def test_every_store_tells_the_same_of_profiles(open_store: Any) -> None:
    told = measure(open_store(LUNA), lambda: NOW)
    assert {name: told[name] for name in ("users", "modes", "profiles", "active_modes", "invalid")} == {
        "users": 3, "modes": 2, "profiles": 5, "active_modes": 1, "invalid": 0,
    }  # fmt: skip
    assert (list(told["by_mode"].items()), told["by_active_mode"]) == ([("mars", 3), ("default", 2)], {"mars": 1})
    assert "oldest" not in told


@pytest.mark.parametrize("name", ["memory", "file", "sqlite"])
def test_an_empty_store_has_no_oldest(name: str, data_dir: Path, db: None) -> None:
    told = measure(opened(name, TE, data_dir), lambda: NOW)
    assert (told["oldest"], told["newest"], told["by_tag"], told["reflections"]) == (None, None, {}, 0)


@pytest.mark.django_db(databases=["default", "postgresql"])
@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_the_database_answers_from_its_indexes(alias: str, request: pytest.FixtureRequest) -> None:
    if alias == "postgresql":
        request.getfixturevalue("postgresql_alias")
    store = SqlStore(TE, alias)
    filled(store)
    told, connection = statistics_of(store), connections[alias]
    with connection.cursor() as cursor:
        if alias == "postgresql":  # of so few rows it would read all, whatever indexes there are
            cursor.execute("SET LOCAL enable_seqscan = off")
    within, only = ("Index Cond", "Index Only Scan") if alias == "postgresql" else ("SEARCH", "USING COVERING INDEX")
    for ask, index, how in (
        (lambda: told.span(Reflection), "te_reflections_oldest", only),
        (lambda: told.per_day(Reflection, [date(2026, 3, 9)]), "te_reflections_oldest", within),
        (lambda: told.tally(Reflection, "session_id", 3), "te_reflections_session", only),
    ):
        with CaptureQueriesContext(connection) as asked:
            ask()
        for query in asked.captured_queries:
            plan = explained(connection, query["sql"])
            assert index in plan, plan
            assert "Seq Scan" not in plan
            assert how in plan, plan


def explained(connection: Any, statement: str) -> str:
    how = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{how} {statement}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


@pytest.mark.django_db
def test_what_was_last_done_stands_in_the_ledger(data_dir: Path) -> None:
    at = iter(NOW + number * DAY for number in range(9))
    for operation, state in (
        ("migrate", "complete"), ("verify", "complete"), ("compact", "complete"), ("import", "complete"), ("verify", "failed"),
    ):  # fmt: skip
        moment = next(at)
        Run.objects.create(operation=operation, state=state, started_at=moment, finished_at=moment, counts={"te": {}})
    Run.objects.create(
        operation="compact", state="complete", started_at=NOW, finished_at=NOW + 30 * DAY, counts={"luna": {}}
    )
    told = stats([SqlStore(TE)], now=lambda: NOW).domains["te"].details
    assert [told[f"last_{what}"] for what in ("migration", "verification", "compaction")] == [
        "2026-03-13T12:00:00.000Z", "2026-03-11T12:00:00.000Z", "2026-03-12T12:00:00.000Z",
    ]  # fmt: skip
    of_files = stats([file_store(TE, data_dir)], now=lambda: NOW).domains["te"].details
    assert (of_files["last_migration"], of_files["last_compaction"]) == ("2026-03-13T12:00:00.000Z", None)


def test_files_know_when_they_were_compacted_and_what_is_invalid_without_a_database(data_dir: Path) -> None:
    write(data_dir, TE, TE_DEAD)
    store = file_store(TE, data_dir)
    assert measure(store, lambda: NOW)["invalid"] == 3
    compact([TE], data_dir, now=lambda: NOW)
    told = measure(store, lambda: NOW)
    assert (told["invalid"], told["last_compaction"], told["last_migration"]) == (0, "2026-03-10T12:00:00.000Z", None)


def test_retention_of_files_counts_as_their_compaction(data_dir: Path, tmp_path: Path) -> None:
    store = filled(file_store(TE, data_dir))
    policy = Policy(max_age_days=90, max_per_session=1000)
    retain([store], policy, now=lambda: NOW, dry_run=True)
    assert measure(store, lambda: NOW)["last_compaction"] is None
    retain([store], policy, now=lambda: NOW)
    assert measure(store, lambda: NOW)["last_compaction"] == "2026-03-10T12:00:00.000Z"
    retain([file_store(TE, tmp_path / "nowhere")], policy, now=lambda: NOW)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"te": 1}'])
def test_a_note_that_cannot_be_read_is_no_obstacle(data_dir: Path, content: bytes) -> None:
    filled(file_store(TE, data_dir))
    (data_dir / ".orb").mkdir(mode=0o700)
    (data_dir / ".orb/facts.json").write_bytes(content)
    assert measure(file_store(TE, data_dir), lambda: NOW)["last_compaction"] is None
    compact([TE], data_dir, now=lambda: NOW)
    assert measure(file_store(TE, data_dir), lambda: NOW)["last_compaction"] == "2026-03-10T12:00:00.000Z"


@pytest.mark.django_db
def test_what_a_migration_had_to_leave_is_invalid_until_it_is_settled() -> None:
    run = Run.objects.create(operation="migrate", started_at=NOW)
    left = [
        Reject.objects.create(run=run, domain=name, kind="k", path="$", reason="r", original="1")
        for name in ("te", "te", "luna")
    ]
    assert measure(SqlStore(TE), lambda: NOW)["invalid"] == 2
    left[0].settled_by = run
    left[0].save()
    assert measure(SqlStore(TE), lambda: NOW)["invalid"] == 1


@pytest.mark.django_db
def test_growth_is_one_row_a_day_for_each_domain_and_store(data_dir: Path, settings: Any) -> None:
    settings.ORB_DATA_DIR = data_dir
    sql = SqlStore(TE)
    filled(sql)
    filled(file_store(LUNA, data_dir))
    assert note_growth(lambda: NOW) == note_growth(lambda: NOW + timedelta(hours=1)) == 4
    sql.put([ReflectionFactory(id="new")])
    note_growth(lambda: NOW + DAY)
    rows = Growth.objects.filter(domain="te").values_list("day", "store", "counts__reflections")
    assert list(rows) == [(date(2026, 3, 11), "sql", 7), (date(2026, 3, 10), "sql", 6)]
    assert set(Growth.objects.values_list("domain", "store")) == {
        ("luna", "sql"),
        ("luna", "file"),
        ("mav", "sql"),
        ("te", "sql"),
    }
    (row,) = Growth.objects.filter(store="file", day=NOW.date())
    assert (row.size, row.counts["profiles"]) == ((data_dir / LUNA.file).stat().st_size, 5)
    told = stats([sql], now=lambda: NOW).domains["te"].details["growth"]
    assert [(one["day"], one["reflections"]) for one in told] == [("2026-03-11", 7), ("2026-03-10", 6)]


@pytest.mark.django_db
def test_a_file_that_cannot_be_read_keeps_nothing_else_from_its_row(
    data_dir: Path, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ORB_DATA_DIR = data_dir
    write(data_dir, TE, {})
    (data_dir / TE.file).write_bytes(b'{"torn')
    assert note_growth(lambda: NOW) == 3
    assert "no statistics were saved for te in file" in caplog.text


def test_counting_reads_no_texts(data_dir: Path) -> None:
    """The names that memory and files are asked by are those of the kinds."""
    assert {name for name, (kind, _) in {**LUNA.tallies, **TE.tallies}.items() if kind in (Profile, ActiveMode, Reflection)} == {
        "by_mode", "by_active_mode", "largest_sessions", "by_tag",
    }  # fmt: skip
    assert isinstance(filled(file_store(TE, data_dir)), FileStore)
