"""Retention: one meaning on every store, nothing unseen, and everything can be brought back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import connections

from luna.domain import DOMAIN as LUNA
from orbsite.models.ledger import Change, Run
from orbsite.operations.ledger.tombstones import undo
from orbsite.operations.progress import Progress, Stopped
from orbsite.operations.retention.apply import retain
from orbsite.storage.errors import ClockJumped, InvalidPolicy, OrbError, TooMuch
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.record import Extra
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from te.retention import guides_policy
from tests.operations.retention.policies import NOW, some_case, survivors
from tests.support.effort import effort
from tests.support.factories import ReflectionFactory

pytestmark = [pytest.mark.django_db(databases="__all__"), pytest.mark.slow]

Make = Callable[[], Any]
STORES = ["memory", "file", "default", "postgresql"]
CHUNK, CASES = 52, effort(156, 520)


def now() -> datetime:
    return NOW


def open_store(name: str, base: Path, request: pytest.FixtureRequest) -> Any:
    if name == "postgresql":
        request.getfixturevalue("postgresql_alias")
    if name in ("default", "postgresql"):
        return SqlStore(TE, name)
    return MemoryStore(TE) if name == "memory" else FileStore(TE, Document(base, TE.file))


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return open_store(request.param, tmp_path / "data", request)


@pytest.fixture(params=["file", "default", "postgresql"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store beside which it is noted when the last run was."""
    return open_store(request.param, tmp_path / "data", request)


def ids(store: Any) -> set[str]:
    return {one.id for one in store.walk(Reflection)}


def ago(**fields: float) -> datetime:
    return NOW - timedelta(**fields)


def aged(*days: float, **fields: Any) -> list[Reflection]:
    return [ReflectionFactory(id=f"{number:03}", created_at=ago(days=day), **fields) for number, day in enumerate(days)]


@pytest.mark.deep
@pytest.mark.parametrize("first", range(0, CASES, CHUNK))
def test_the_same_records_survive_on_every_store(first: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    stores = {name: open_store(name, tmp_path / "data", request) for name in STORES}
    for seed in range(first, first + CHUNK):
        policy, records = some_case(seed)
        expected = survivors(policy, records)
        for name, store in stores.items():
            store.put(records)
            report = retain([store], policy, now=now, force=True)
            assert {one.key for one in store.walk(Reflection)} == expected, (seed, name, policy)
            counts = report.domains["te"].counts["reflections"]
            assert counts == Counter(read=len(records), kept=len(expected), removed=len(records) - len(expected))
            store.delete(Reflection, expected)


def test_the_random_policies_use_every_rule() -> None:
    used = Counter(name for seed in range(CASES) for name in some_case(seed)[0].as_json())
    assert set(used) == set(Policy.__struct_fields__)
    assert min(used.values()) > CASES // 26


def test_what_is_exactly_as_old_as_the_age_stays(store: Any) -> None:
    store.put(
        [
            ReflectionFactory(id="older", created_at=ago(days=90, microseconds=1)),
            ReflectionFactory(id="exactly", created_at=ago(days=90)),
            ReflectionFactory(id="younger", created_at=ago(days=89)),
        ]
    )
    retain([store], guides_policy(), now=now, force=True)
    assert ids(store) == {"exactly", "younger"}


def test_the_newest_of_each_session_stay_and_equal_times_are_told_by_id(store: Any) -> None:
    moment = ago(days=1)
    store.put([ReflectionFactory(id=name, created_at=moment) for name in ("a", "B", "\uff5e", "🚀")])
    store.put([ReflectionFactory(id="other", session_id="other", created_at=ago(days=2))])
    retain([store], guides_policy(max_per_session=2), now=now, force=True)
    assert ids(store) == {"\uff5e", "🚀", "other"}


def test_a_record_that_is_newer_than_now_counts_as_new(store: Any) -> None:
    store.put(aged(-0.5, 1, 2))
    retain([store], Policy(max_age_days=0.5, keep_last=3), now=now, force=True)
    assert ids(store) == {"000"}


def test_the_limits_drop_what_a_rule_would_keep(store: Any) -> None:
    store.put(aged(1, 100, tags=("pinned",)))
    retain([store], Policy(keep_tags=("pinned",), max_age_days=90), now=now, force=True)
    assert ids(store) == {"000"}


def test_more_than_a_fifth_goes_only_when_forced(store: Any) -> None:
    store.put(aged(1, 2, 3, 4, 100))
    retain([store], guides_policy(), now=now)
    assert len(ids(store)) == 4  # one of five is a fifth, and no more
    store.put(aged(1, 2, 3, 100, 100))
    with pytest.raises(TooMuch, match="2 of 5 reflections"):
        retain([store], guides_policy(), now=now)
    assert len(ids(store)) == 5
    assert not Run.objects.filter(state="running").exists()
    retain([store], guides_policy(), now=now, force=True)
    assert len(ids(store)) == 3


def test_a_dry_run_lists_what_would_go_and_why_and_removes_nothing(store: Any) -> None:
    store.put(aged(1, 100, 200))
    report = retain([store], Policy(max_age_days=90, max_per_session=2), now=now, dry_run=True)
    told = {(one.path, one.message) for one in report.domains["te"].findings}
    assert ('reflections ["ana","001"]', "would go: older than 90 days") in told
    assert (
        'reflections ["ana","002"]',
        "would go: older than 90 days; beyond the newest 2 of its session",
    ) in told
    assert any("--force" in message for _, message in told)
    assert len(ids(store)) == 3
    assert (report.tombstones, report.run, Change.objects.count(), Run.objects.count()) == ([], None, 0, 0)


def test_of_an_id_that_several_users_have_each_record_is_explained(store: Any) -> None:
    store.put(
        [ReflectionFactory(id="x", user_id=user, created_at=ago(days=age)) for user, age in (("ana", 1), ("bo", 99))]
    )
    found = retain([store], Policy(max_age_days=90), now=now, explain="x").domains["te"].findings
    assert {one.path: one.message.partition(":")[0] for one in found} == {
        'reflections ["ana","x"]': "stays", 'reflections ["bo","x"]': "would go",
    }  # fmt: skip


def explained(store: Any, policy: Policy, name: str) -> str:
    (finding,) = retain([store], policy, now=now, explain=name).domains["te"].findings
    return finding.message


def test_each_record_has_a_reason(store: Any) -> None:
    store.put([*aged(1, 2, 100), ReflectionFactory(id="tagged", tags=("pinned",), created_at=ago(days=50))])
    rules = Policy(keep_within_days=1.5, keep_last=2, keep_daily=1, keep_tags=("pinned",), max_age_days=90)
    stays = "stays: within 1.5 days; among the newest 2 of its session; the newest of 2024-03-03"
    assert explained(store, rules, "000") == stays
    assert explained(store, rules, "001") == "stays: among the newest 2 of its session"
    assert explained(store, rules, "tagged") == "stays: has the tag pinned"
    assert explained(store, rules, "002") == "would go: older than 90 days"
    assert explained(store, Policy(keep_last=1), "002") == "would go: no rule keeps it"
    assert explained(store, Policy(keep_last_of_user=1), "000") == "stays: among the newest 1 of its user"
    assert explained(store, guides_policy(), "000") == "stays: within the limits"
    with pytest.raises(OrbError, match="there is no record 'nobody'"):
        retain([store], rules, now=now, explain="nobody")
    assert len(ids(store)) == 4


@pytest.mark.parametrize("policy", [Policy(max_age_days=90), Policy(keep_within_days=90)])
def test_a_clock_that_jumped_back_removes_nothing(store: Any, policy: Policy) -> None:
    store.put(aged(*[-1.1] * 10, 1, 100))
    for force in (False, True):
        with pytest.raises(ClockJumped, match=r"reflections .* of user .*--trust-clock") as caught:
            retain([store], policy, now=now, force=force)
        assert "--force" not in str(caught.value)
    preview = retain([store], policy, now=now, dry_run=True).domains["te"].findings
    assert ["--trust-clock" in one.message for one in preview if "nothing would go" in one.message] == [True]
    assert len(ids(store)) == 12
    retain([store], policy, now=now, trust_clock=True)
    assert len(ids(store)) == 11


@pytest.mark.parametrize("policy", [Policy(max_age_days=90), Policy(keep_within_days=90)])
def test_one_record_from_the_future_is_named_and_stops_nothing(store: Any, policy: Policy) -> None:
    store.put([*aged(-9000, user_id="eve"), *aged(0, *[1] * 10, 100, user_id="ana")[1:]])
    (report,) = retain([store], policy, now=now).domains.values()
    assert len(ids(store)) == 11
    assert report.total("removed") == 1
    (named,) = [one for one in report.findings if "in the future" in one.message]
    assert (named.path, "it stays" in named.message) == ('reflections ["eve","000"]', True)
    assert "user 'eve'" in named.message
    assert f"{ago(days=-9000):%Y-%m-%d}" in named.message
    assert explained(store, policy, "000").startswith("stays: from the future")


def test_the_records_of_one_user_whose_clock_is_wrong_stop_nothing(store: Any) -> None:
    wrong = [ReflectionFactory(id=f"wrong-{n}", user_id="eve", created_at=ago(days=-400 - n)) for n in range(150)]
    store.put([*wrong, *aged(*[1] * 10, 100)])
    (report,) = retain([store], Policy(max_age_days=90), now=now).domains.values()
    assert (report.total("removed"), len(ids(store))) == (1, 160)
    named = [one for one in report.findings if "future" in one.message]
    assert len(named) == 11
    assert "140 more" in named[-1].message
    assert "wrong-149" in named[0].path


def test_a_record_from_the_future_stays_whatever_the_limits_say(store: Any) -> None:
    store.put(aged(-30, -20, -10, *range(1, 8)))
    policy = Policy(max_per_session=1, max_age_days=365)
    retain([store], policy, now=now, force=True)
    assert ids(store) == {"000", "001", "002"}
    retain([store], Policy(max_per_session=1), now=now, force=True)
    assert ids(store) == {"000"}


def test_each_guard_has_a_flag_of_its_own(store: Any) -> None:
    store.put(aged(*[-1.1] * 6, *[100] * 5))
    policy = Policy(max_age_days=90)
    with pytest.raises(ClockJumped):
        retain([store], policy, now=now, force=True)
    with pytest.raises(TooMuch, match="--force") as caught:
        retain([store], policy, now=now, trust_clock=True)
    assert "--trust-clock" not in str(caught.value)
    assert len(ids(store)) == 11
    retain([store], policy, now=now, force=True, trust_clock=True)
    assert len(ids(store)) == 6


def test_a_last_run_from_the_future_stops_what_asks_the_clock(stored: Any) -> None:
    stored.put(aged(*[1] * 10, 100))
    policy = Policy(max_age_days=90)
    retain([stored], policy, now=now)
    with pytest.raises(ClockJumped, match="the last run was at"):
        retain([stored], policy, now=lambda: ago(days=400))
    retain([stored], Policy(max_per_session=50), now=lambda: ago(days=400))
    stored.put(aged(500))
    with pytest.raises(ClockJumped, match="most of the newest"):  # the last run is not from the future any more
        retain([stored], policy, now=lambda: ago(days=400))


def test_a_policy_that_asks_no_clock_does_not_care_about_it(store: Any) -> None:
    store.put(aged(-400, *range(1, 6)))
    retain([store], Policy(max_per_session=5), now=now)
    assert len(ids(store)) == 5


RICH = [
    ReflectionFactory(id="kept", session_id="s", created_at=ago(days=1), extra=Extra({"score": 1.5})),
    ReflectionFactory(id="plain", session_id="s", created_at=ago(days=100)),
    ReflectionFactory(id="micro", session_id="s", created_at=ago(days=100, microseconds=123456), tags=()),
    ReflectionFactory(id="none", session_id="t", created_at=ago(days=100, microseconds=250_000), notes=None),
    ReflectionFactory(id="empty", session_id="t", created_at=ago(days=101, microseconds=250_001), notes="", input="", output="\\ \" \t\x01\u2028"),
    ReflectionFactory(id="hostile", session_id="t", created_at=ago(days=102), tags=('"', "é\n", "予約"), notes="%s {} '"),
    ReflectionFactory(
        id="un\"known",
        session_id="s",
        user_id="bo",
        created_at=ago(days=103),
        extra=Extra({"big": 1e23, "whole": 2.0, "deep": {"a": [None, True, {"id": "x"}]}, "notes2": "é", "q'": 1}),
    ),
]  # fmt: skip


def as_it_is(store: Any) -> Any:
    """Return everything that a store holds, and how: rows with every column, or the document's bytes."""
    if isinstance(store, SqlStore):
        with connections[store.using].cursor() as cursor:
            columns = ", ".join(field.column for field in ReflectionRow._meta.fields if not field.primary_key)
            cursor.execute(f"SELECT {columns} FROM te_reflections ORDER BY user_id, id")
            return cursor.fetchall()
    if isinstance(store, FileStore):
        store.fold()
        return store.snapshot()
    return {one.key: (one, store.rows(Reflection, [one.key])[one.key].position) for one in store.walk(Reflection)}


def handle(report: Any) -> str:
    return str(report.run) if report.run else report.tombstones[0]


def test_undo_brings_back_every_record_equal_field_by_field(store: Any) -> None:
    if isinstance(store, SqlStore):
        store.load([(record, at) for at, record in enumerate(RICH[:5])], 7)
        store.load([(record, None) for record in RICH[5:]], None)
    else:
        store.put(RICH)
    before, records = as_it_is(store), {one.key: one for one in store.walk(Reflection)}
    report = retain([store], guides_policy(), now=now, force=True, actor="a test")
    assert ids(store) == {"kept"}
    back = undo(handle(report), [store], now=now)
    assert back.domains["te"].counts["reflections"] == Counter(restored=6, present=0, kept=0)
    assert {one.key: one for one in store.walk(Reflection)} == records == {one.key: one for one in RICH}
    assert as_it_is(store) == before
    assert back.ok


def test_undo_keeps_what_has_taken_a_key_since_and_can_be_repeated(store: Any) -> None:
    store.put(RICH)
    name = handle(retain([store], guides_policy(), now=now, force=True))
    newer = msgspec.structs.replace(RICH[1], output="newer")
    store.put([newer, RICH[2]])
    back = undo(name, [store], now=now)
    assert back.domains["te"].counts["reflections"] == Counter(restored=4, present=1, kept=1)
    assert (back.exit_code, len(ids(store))) == (1, 7)
    (finding,) = back.domains["te"].findings
    assert finding.path == 'reflections ["ana","plain"]'
    assert store.fetch(Reflection, [newer.key]) == {newer.key: newer}
    again = undo(name, [store], now=now).domains["te"].counts["reflections"]
    assert (again["restored"], again["kept"]) == (0, 1)


def test_nothing_is_known_of_a_run_that_never_was(store: Any) -> None:
    for name in ("99", "nothing", "../x"):
        with pytest.raises(OrbError):
            undo(name, [store], now=now)


@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_a_tombstone_tells_who_removed_what_when_and_why(alias: str, request: pytest.FixtureRequest) -> None:
    store = open_store(alias, Path(), request)
    store.load([(RICH[1], 3)], 7)
    row = store.rows(Reflection, [RICH[1].key])[RICH[1].key]
    report = retain([store], guides_policy(), now=now, force=True, actor="ana")
    (change,) = Change.objects.using(alias).all()
    assert (change.run_id, change.domain, change.kind, change.key) == (
        report.run,
        "te",
        "reflections",
        '["ana","plain"]',
    )
    assert (change.actor, change.at, change.reason) == ("ana", NOW, "older than 90 days")
    assert (change.before_run, change.before_position, row.as_left) == (7, 3, True)
    assert json.loads(change.before)["record"]["output"] == "output"
    run = Run.objects.get(pk=report.run)
    assert (run.operation, run.state) == ("compact", "complete")
    assert run.counts["te"]["reflections"] == {"read": 1, "kept": 0, "removed": 1}


@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_a_row_that_was_edited_in_sql_is_nobodys_when_it_is_back(alias: str, request: pytest.FixtureRequest) -> None:
    store = open_store(alias, Path(), request)
    store.load([(RICH[1], 3)], 7)
    with connections[alias].cursor() as cursor:
        cursor.execute("UPDATE te_reflections SET output = 'edited'")
    undo(handle(retain([store], guides_policy(), now=now, force=True)), [store], now=now)
    row = store.rows(Reflection, [RICH[1].key])[RICH[1].key]
    assert (row.record.output, row.run) == ("edited", None)


def test_a_time_that_cannot_be_read_is_never_too_old_in_sqlite() -> None:
    store = SqlStore(TE, "default")
    store.put(aged(100, 200, 300, 1, session_id="s"))
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE te_reflections SET created_at = 'long ago' WHERE id = '000'")
        cursor.execute("UPDATE te_reflections SET created_at = '2001-02-31 00:00:00' WHERE id = '001'")
    report = retain([store], Policy(max_age_days=90, max_per_session=1), now=now, force=True)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT id FROM te_reflections ORDER BY id")
        assert [row[0] for row in cursor.fetchall()] == ["000", "001", "003"]
    messages = [one.message for one in report.domains["te"].findings]
    assert "its time cannot be read; it stays" in messages
    assert "1 stay: they were changed meanwhile, or do not decode" in messages


def test_a_time_that_cannot_be_read_is_never_too_old_in_postgresql(postgresql_alias: str) -> None:
    store = SqlStore(TE, "postgresql")
    store.put(aged(100, 200, 1))
    with connections["postgresql"].cursor() as cursor:
        cursor.execute("UPDATE te_reflections SET created_at = '-infinity' WHERE id = '000'")
    report = retain([store], guides_policy(), now=now, force=True)
    with connections["postgresql"].cursor() as cursor:
        cursor.execute("SELECT id FROM te_reflections ORDER BY id")
        assert [row[0] for row in cursor.fetchall()] == ["000", "002"]
    assert [one.path for one in report.domains["te"].findings] == ['reflections ["ana", "000"]']


def test_items_of_a_file_that_do_not_decode_stay_and_are_told(tmp_path: Path) -> None:
    items = [
        {"id": "bad", "input": "i", "output": "o", "tags": [], "createdAt": "long ago"},
        {"id": "old", "input": "i", "output": "o", "tags": [], "createdAt": "2001-01-01T00:00:00.000Z"},
    ]
    path = tmp_path / TE.file
    path.parent.mkdir(mode=0o700)
    path.write_text(json.dumps({"sessions": {"s": items}, "userSessions": {"ana": ["s"]}}))
    path.chmod(0o600)
    report = retain([FileStore(TE, Document(tmp_path, TE.file))], guides_policy(), now=now, force=True)
    assert json.loads(path.read_text())["sessions"]["s"] == items[:1]
    (finding,) = report.domains["te"].findings
    assert "1 items do not decode" in finding.message


def test_empty_sessions_and_their_listings_go_and_come_back(tmp_path: Path) -> None:
    store = FileStore(TE, Document(tmp_path, TE.file))
    store.put(RICH)
    before = json.loads(store.snapshot() or b"")
    name = handle(retain([store], guides_policy(), now=now, force=True))
    left = json.loads(store.snapshot() or b"")
    assert (list(left["sessions"]), left["userSessions"]) == (["s"], {"ana": ["s"], "bo": ["s"]})
    undo(name, [store], now=now)
    assert json.loads(store.snapshot() or b"") == before


def test_a_record_comes_back_to_its_place_among_those_that_stayed(tmp_path: Path) -> None:
    store = FileStore(TE, Document(tmp_path, TE.file))
    store.put(aged(100, 1, 200, 2, 300))
    name = handle(retain([store], guides_policy(), now=now, force=True))
    store.put([ReflectionFactory(id="new", created_at=ago(days=0))])
    undo(name, [store], now=now)
    items = json.loads(store.snapshot() or b"")["sessions"]["default"]
    assert [one["id"] for one in items] == ["000", "001", "002", "003", "004", "new"]


def test_profiles_are_no_matter_of_retention() -> None:
    with pytest.raises(InvalidPolicy, match="luna"):
        retain([MemoryStore(LUNA)], guides_policy(), now=now)


def test_where_there_is_nothing_nothing_is_made(tmp_path: Path) -> None:
    store = FileStore(TE, Document(tmp_path / "data", TE.file))
    report = retain([store], guides_policy(), now=now)
    assert report.domains["te"].counts["reflections"]["read"] == 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_a_time_budget_ends_between_batches_and_the_next_run_goes_on(
    alias: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbsite.operations.retention.removal._FIRST", 2)
    store = open_store(alias, Path(), request)
    store.put(aged(*range(1, 4), *range(100, 107)))
    report = retain([store], guides_policy(), now=now, force=True, budget=0.0)
    assert report.domains["te"].counts["reflections"] == Counter(read=10, kept=8, removed=2)
    assert "5 more would go" in report.domains["te"].findings[0].message
    retain([store], guides_policy(), now=now, force=True)
    assert (len(ids(store)), Change.objects.using(alias).count()) == (3, 7)


class StopsAtOnce(Progress):
    is_stopping = True


@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_whoever_stops_it_finds_the_rest_where_it_was(
    alias: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbsite.operations.retention.removal._FIRST", 2)
    store = open_store(alias, Path(), request)
    store.put(aged(*range(100, 110)))
    with pytest.raises(Stopped):
        retain([store], guides_policy(), now=now, force=True, progress=StopsAtOnce())
    run = Run.objects.get()
    assert (run.state, run.counts["te"]["reflections"]["removed"], len(ids(store))) == ("interrupted", 2, 8)
    undo(str(run.pk), [store], now=now)
    assert len(ids(store)) == 10


@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_a_row_that_was_saved_again_since_it_was_planned_stays(
    alias: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(alias, Path(), request)
    old, other = aged(100, 100)
    store.put([old, other])
    from orbsite.operations.retention.removal import BatchedRemoval

    remove = BatchedRemoval.remove

    def saved_first(self: BatchedRemoval, *arguments: Any, **options: Any) -> None:
        store.put([msgspec.structs.replace(old, created_at=ago(days=1))])
        remove(self, *arguments, **options)

    monkeypatch.setattr(BatchedRemoval, "remove", saved_first)
    report = retain([store], guides_policy(), now=now, force=True)
    assert ids(store) == {old.id}
    assert "1 stay" in report.domains["te"].findings[0].message


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"keep_last": 0},
        {"max_per_session": -1},
        {"max_age_days": float("nan")},
        {"max_age_days": float("inf")},
        {"keep_within_days": 0},
        {"max_age_days": "90"},
        {"max_age": 90},
        {"keep_last": True},
        [],
    ],
)
def test_a_policy_that_says_nothing_or_nonsense_is_refused(rules: Any) -> None:
    with pytest.raises(InvalidPolicy):
        Policy.of_json(rules)


def test_a_policy_survives_json() -> None:
    policy = Policy(keep_last=3, keep_tags=("a",), max_age_days=0)
    assert Policy.of_json(json.loads(json.dumps(policy.as_json()))) == policy
    assert policy.as_json() == {"keep_last": 3, "keep_tags": ["a"], "max_age_days": 0}


def test_an_age_beyond_all_time_drops_nothing(store: Any) -> None:
    store.put([ReflectionFactory(created_at=datetime(1, 1, 1, tzinfo=UTC))])
    retain([store], Policy(max_age_days=1e9), now=now)
    retain([store], Policy(keep_within_days=1e9), now=now)
    assert len(ids(store)) == 1
