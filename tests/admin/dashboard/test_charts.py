"""The plots of the dashboard: the right numbers, from every store, and few of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from luna.domain import DOMAIN as LUNA
from orbsite.admin.dashboard.charts import Chart, charts, spelled
from orbsite.conf.app_settings import Persistence
from orbsite.models.jobs import Job
from orbsite.models.retention import RetentionPolicy
from orbsite.models.statistics import Growth
from orbsite.operations.monitoring.snapshot import DashboardSnapshot
from orbsite.operations.statistics.figures import FILE, SQL, Figures
from orbsite.operations.statistics.overview import overview
from orbsite.storage.base.store import Store
from orbsite.storage.file.store import FileStore
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.domain import Domain
from orbsite.storage.sql.store import SqlStore
from orbsite.storage.statistics.counts import statistics_of
from orbsite.stores import file_store
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.factories import ActiveModeFactory, ProfileFactory, ReflectionFactory

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DATABASES = ["default", "postgresql"]


@pytest.fixture(params=["memory", "file", "sqlite", "postgresql"])
def open_store(request: pytest.FixtureRequest, data_dir: Path, db: None) -> Any:
    alias = request.getfixturevalue("postgresql_alias") if request.param == "postgresql" else "default"

    def opened(domain: Domain) -> Store:
        if request.param in ("memory", "file"):
            return MemoryStore(domain) if request.param == "memory" else file_store(domain, data_dir)
        return SqlStore(domain, alias)

    return opened


def reflections(*told: tuple[timedelta, tuple[str, ...]]) -> list[Reflection]:
    return [
        ReflectionFactory(id=f"r{number}", created_at=NOW - ago, tags=tags) for number, (ago, tags) in enumerate(told)
    ]


@pytest.mark.django_db(databases=DATABASES)
def test_every_store_stacks_days_by_the_first_tag(open_store: Any) -> None:
    store = open_store(TE)
    store.put(reflections(
        (0 * DAY, ("b", "x")), (0 * DAY, ("b",)), (1 * DAY, ("b",)),
        (0 * DAY, ("Z",)), (2 * DAY, ("Z",)), (1 * DAY, ("ä",)), (1 * DAY, ("",)), (1 * DAY, ("null",)), (2 * DAY, ()),
        (3 * DAY, ("b",)), (-1 * DAY, ("b",)),
        (timedelta(hours=12), ("b",)), (timedelta(hours=12, microseconds=1), ("b",)),
    ))  # fmt: skip
    days = [date(2026, 3, day) for day in (8, 9, 10)]
    stack = statistics_of(store).stack(Reflection, days, 3)
    assert stack.days == days
    assert list(stack.by_tag.items()) == [("b", [0, 2, 3]), ("Z", [1, 0, 1]), ("", [0, 1, 0])]
    assert (stack.other, stack.untagged) == ([0, 2, 0], [1, 0, 0])
    assert statistics_of(store).before(Reflection, [NOW - 2 * DAY, NOW, NOW + 9 * DAY]) == [1, 9, 13]
    assert statistics_of(store).stack(Reflection, [date(2020, 1, 1)], 3).by_tag == {}


@pytest.mark.django_db(databases=DATABASES)
def test_every_store_gives_the_same_overview(open_store: Any) -> None:
    store = open_store(TE)
    store.put(reflections((0 * DAY, ("a",)), (29 * DAY, ("a",)), (30 * DAY, ("a",)), (91 * DAY, ()), (800 * DAY, ())))
    told = overview(store, lambda: NOW, [45.5])
    assert told["counts"] == {"users": 1, "sessions": 1, "reflections": 5, "invalid": 0}
    details = told["details"]
    assert details["span"] == ["2023-12-31T12:00:00.000Z", "2026-03-10T12:00:00.000Z"]
    assert details["days"]["first"] == "2026-02-09"
    assert (details["days"]["by_tag"]["a"][0], sum(details["days"]["by_tag"]["a"])) == (1, 2)
    assert details["ages"] == [
        [1.0, 4], [7.0, 4], [30.0, 2], [45.5, 2], [90.0, 2], [180.0, 1], [365.0, 1], [730.0, 1],
    ]  # fmt: skip
    assert details["tallies"] == {}
    luna = open_store(LUNA)
    luna.put([ProfileFactory(user_id="ana", mode_id="sol"), ActiveModeFactory(user_id="ana", mode_id="mars")])
    luna.put([ProfileFactory(user_id="bob", mode_id="sol"), ProfileFactory(user_id="bob", mode_id="mars")])
    told = overview(luna, lambda: NOW, [])["details"]
    assert told["tallies"] == {"by_mode": [("sol", 2), ("mars", 1)], "by_active_mode": [("mars", 1)]}
    assert {"days", "ages"}.isdisjoint(told)


@pytest.mark.django_db(databases=DATABASES)
def test_an_empty_store_has_an_overview(open_store: Any) -> None:
    told = overview(open_store(TE), lambda: NOW, [])
    assert told["details"] == {"span": None, "tallies": {}}


@pytest.mark.django_db
def test_the_days_shown_end_today_or_where_there_was_something() -> None:
    store = SqlStore(TE)
    store.put(reflections((29 * DAY, ())))
    assert overview(store, lambda: NOW, [])["details"]["days"]["first"] == "2026-02-09"
    assert overview(store, lambda: NOW + DAY, [])["details"]["days"]["first"] == "2026-01-11"
    store.put(reflections((-5 * DAY, ())))
    assert overview(store, lambda: NOW, [])["details"]["days"]["first"] == "2026-02-09"


@pytest.mark.django_db
def test_the_first_days_of_all_are_shown() -> None:
    store = SqlStore(TE)
    first = datetime(1, 1, 2, tzinfo=UTC)
    store.put([ReflectionFactory(id="old", created_at=first)])
    details = overview(store, lambda: NOW, [10.0**6])["details"]
    assert details["days"]["first"] == "0001-01-01"
    assert details["ages"][-1] == [10.0**6, 0]


@pytest.mark.django_db
def test_policies_that_are_on_name_ages_of_their_own() -> None:
    for name, rules, more in (
        ("a", {"max_age_days": 33}, {}),
        ("b", {"max_age_days": 44}, {"enabled": False}),
        ("c", {"max_age_days": 55}, {"store": "file"}),
        ("d", {"keep_last": 1}, {}),
        ("e", {"nothing": 1}, {}),
    ):
        RetentionPolicy.objects.create(name=name, domain="te", rules=rules, **more)
    SqlStore(TE).put(reflections((0 * DAY, ())))
    ages = [days for days, _ in overview(SqlStore(TE), lambda: NOW)["details"]["ages"]]
    assert ages == [1, 7, 30, 33, 90, 180, 365, 730]


@pytest.mark.django_db
def test_an_overview_asks_a_handful_of_questions_however_many_days_there_are() -> None:
    store = SqlStore(TE)
    store.put(reflections(*((number * DAY, (f"t{number}",)) for number in range(40))))
    with CaptureQueriesContext(connections["default"]) as queries:
        told = overview(store, lambda: NOW, [])
    assert len(queries) == 10
    assert len(told["details"]["days"]["by_tag"]) == 5
    assert sum(told["details"]["days"]["other"]) == 25


def a_scene(store: Store, stored: str = SQL, **parts: Any) -> DashboardSnapshot:
    made = overview(store, lambda: NOW, parts.pop("limits", [])) | {"size": parts.pop("size", 0)}
    one = Figures(domain=store.domain, store=stored, as_of=NOW, **made)
    mode = Persistence.SQL if stored == SQL else Persistence.FILE
    return DashboardSnapshot(now=NOW, mode=mode, is_ours=True, has_own_workers=True, figures=[one], **parts)


def plot(snapshot: DashboardSnapshot, name: str) -> Chart:
    (one,) = [chart for chart in charts(snapshot) if chart.name == name]
    return one


def layers(chart: Chart) -> dict[str, list[float | None]]:
    return {one.name: list(one.values) for one in chart.series}


def test_reflections_per_day_are_stacked_and_told_as_a_table() -> None:
    store = MemoryStore(TE)
    store.put(reflections((0 * DAY, ("a",)), (0 * DAY, ()), (1 * DAY, ("a",)), (2 * DAY, ("b",))))
    chart = plot(a_scene(store), "days-te")
    assert chart.is_stacked
    assert len(chart.labels) == 30
    assert {name: values[-3:] for name, values in layers(chart).items()} == {
        "a": [0, 1, 1],
        "b": [1, 0, 0],
        "no tag": [0, 0, 1],
    }
    assert chart.summary.startswith("4 reflections in the 30 days up to 10 March 2026")
    rows = dict(chart.rows)
    assert rows["2026-03-10"] == ["1", "0", "1"]
    assert len(rows) == 30
    assert chart.notes == []


def test_days_long_gone_are_told_to_be_so() -> None:
    store = MemoryStore(TE)
    store.put(reflections((300 * DAY, ("a",))))
    chart = plot(a_scene(store), "days-te")
    assert chart.labels[-1] == "2025-05-14"
    assert "no reflections in the last 30 days" in chart.notes[0]


def test_the_store_in_use_is_the_one_that_is_plotted() -> None:
    store = MemoryStore(TE)
    store.put(reflections((0 * DAY, ("a",))))
    shown = {one.name for one in charts(a_scene(store, FILE))}
    assert {"days-te", "ages-te"} <= shown
    other = DashboardSnapshot(
        now=NOW, mode=Persistence.SQL, is_ours=True, has_own_workers=True, figures=a_scene(store, FILE).figures
    )
    assert not charts(other)


def test_ages_are_set_against_the_strictest_policy() -> None:
    store = MemoryStore(TE)
    store.put(reflections((0 * DAY, ()), (20 * DAY, ()), (31 * DAY, ()), (40 * DAY, ()), (200 * DAY, ())))
    policies = [
        RetentionPolicy(name="soft", domain="te", rules={"max_age_days": 90}),
        RetentionPolicy(name="strict", domain="te", rules={"max_age_days": 33}),
        RetentionPolicy(name="off", domain="te", rules={"max_age_days": 1}, enabled=False),
        RetentionPolicy(name="files", domain="te", rules={"max_age_days": 2}, store="file"),
    ]
    chart = plot(a_scene(store, limits=[33.0, 90.0], policies=policies), "ages-te")
    kept, gone = layers(chart).values()
    assert dict(zip(chart.labels, kept, strict=True)) == {
        "0 to 1": 1, "1 to 7": 0, "7 to 30": 1, "30 to 33": 1,
        "33 to 90": 0, "90 to 180": 0, "180 to 365": 0, "365 to 730": 0, "over 730": 0,
    }  # fmt: skip
    assert dict(zip(chart.labels, gone, strict=True))["33 to 90"] == 1
    assert dict(zip(chart.labels, gone, strict=True))["180 to 365"] == 1
    assert chart.series[1].is_warning
    assert chart.summary == "3 reflections are within the policies' age limits; 2 are older."
    assert chart.notes == [
        "Policies remove reflections that are older than 90 days: “soft”; older than 33 days: “strict”."
    ]


def test_without_a_policy_ages_are_ages() -> None:
    store = MemoryStore(TE)
    store.put(reflections((0 * DAY, ()), (1000 * DAY, ())))
    chart = plot(a_scene(store), "ages-te")
    assert layers(chart) == {"reflections": [1, 0, 0, 0, 0, 0, 0, 1]}
    assert chart.notes == []


def test_profiles_are_told_by_mode() -> None:
    store = MemoryStore(LUNA)
    store.put([ProfileFactory(user_id=user, mode_id="sol") for user in ("ana", "bob")])
    store.put([ProfileFactory(mode_id="mars"), ActiveModeFactory(mode_id="earth")])
    chart = plot(a_scene(store), "tally-luna")
    assert chart.title == "Profiles per mode"
    assert chart.labels == ["sol", "mars", "earth"]
    assert layers(chart) == {"profiles": [2, 1, 0], "active modes": [0, 0, 1]}


def grown(*rows: tuple[int, str, str, int]) -> list[Growth]:
    return [
        Growth(day=(NOW - ago * DAY).date(), domain=domain, store=store, size=size) for ago, domain, store, size in rows
    ]


def test_growth_goes_up_to_now_and_leaves_days_out_that_nobody_noted() -> None:
    store = MemoryStore(TE)
    store.put(reflections((0 * DAY, ())))
    rows = grown((3, "te", "sql", 10), (1, "te", "sql", 20), (1, "luna", "file", 5))
    chart = plot(a_scene(store, size=30, growth=rows), "growth")
    assert chart.labels == ["2026-03-07", "2026-03-09", "2026-03-10"]
    assert layers(chart) == {"te in SQL": [10, 20, 30], "luna in files": [None, 5, None]}
    assert next(iter(chart.rows)) == ("2026-03-07", ["10\xa0bytes", "-"])


def test_one_file_is_one_line() -> None:
    rows = grown((1, "luna", "sql", 20), (1, "te", "sql", 20))
    chart = plot(a_scene(MemoryStore(TE), growth=rows, is_one_file=True), "growth")
    assert layers(chart) == {"SQL database": [20]}
    assert chart.notes == ["Maintenance adds one value a day."]


def test_who_may_not_see_growth_gets_no_line() -> None:
    store = MemoryStore(TE)
    store.put(reflections((0 * DAY, ())))
    assert "growth" not in {one.name for one in charts(a_scene(store))}


def test_jobs_are_told_by_how_they_ended_the_oldest_first() -> None:
    jobs = [
        Job(pk=number, operation="verify", state=state, started_at=NOW, finished_at=NOW + timedelta(seconds=seconds))
        for number, state, seconds in ((40, "failed", 90), (39, "done", 0), (38, "cancelled", 2.5))
    ]
    never = Job(pk=41, operation="verify", state="cancelled", finished_at=NOW)
    older = [
        Job(pk=37 - number, operation="check", state="done", started_at=NOW, finished_at=NOW) for number in range(40)
    ]
    chart = plot(a_scene(MemoryStore(TE), ended_jobs=[never, *jobs, *older]), "jobs")
    assert len(chart.labels) == 30
    assert chart.labels[-3:] == ["verify 38", "verify 39", "verify 40"]
    assert {name: values[-3:] for name, values in layers(chart).items()} == {
        "done": [None, 0.001, None],
        "failed": [None, None, 90],
        "cancelled": [2.5, None, None],
    }
    assert dict(chart.rows)["verify 40"] == ["-", "90.0 s", "-"]


def test_what_is_empty_is_not_plotted() -> None:
    assert charts(a_scene(MemoryStore(TE))) == []


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [(None, "bytes", "-"), (0, "records", "0"), (1234567, "records", "1,234,567"), (1.25, "seconds", "1.2 s")],
)
def test_values_are_spelled_for_people(value: float | None, unit: str, told: str) -> None:
    assert spelled(value, unit) == told


def test_a_file_is_walked_once(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = file_store(TE, data_dir)
    store.put(reflections((0 * DAY, ("a",))))
    walked = []
    walk = FileStore.walk
    monkeypatch.setattr(FileStore, "walk", lambda self, kind, **options: walked.append(kind) or walk(self, kind))
    overview(store, lambda: NOW, [])
    assert walked == [Reflection]
