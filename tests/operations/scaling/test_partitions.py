"""Tables that are partitioned by time: the same records, keys that stay unique, and retention by whole partitions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction

from luna.domain import DOMAIN as LUNA
from orbsite.conf.checks import check_partitions
from orbsite.models.ledger import Change, Run, RunState
from orbsite.operations.ledger.detached_partitions import detached_of, drop_expired
from orbsite.operations.ledger.erased_rows import erase_rows
from orbsite.operations.ledger.tombstones import undo
from orbsite.operations.progress import silent
from orbsite.operations.records.sealing import seal_database
from orbsite.operations.report import Report
from orbsite.operations.retention.apply import retain
from orbsite.operations.retention.partition_removal import PartitionedRemoval
from orbsite.operations.scaling.partitions import add_partitions, split
from orbsite.storage.errors import Conflict, OrbError
from orbsite.storage.partitions import Partition, Period, forget, is_partitioned, partitions
from orbsite.storage.records.record import Extra
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.operations.retention import policies
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db(databases="__all__")
TABLE = "te_reflections"
NOW = datetime(2024, 6, 1, 12, 30, tzinfo=UTC)
CASES = 60


@pytest.fixture
def store(on_postgresql: None) -> Iterator[SqlStore]:
    yield SqlStore(TE, "default")
    forget(connections["default"])


@pytest.fixture
def partitioned(store: SqlStore) -> SqlStore:
    """A store whose table is partitioned, until the test's transaction is rolled back."""
    assert partition().ok
    return store


def now() -> datetime:
    return NOW


def partition(*, apply: bool = True, period: Period = Period.MONTH, at: datetime = NOW) -> Report:
    return split([TE], period=period, apply=apply, now=at)


def rows(statement: str, *values: Any) -> list[Any]:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall()) if cursor.description else []


def names() -> list[str]:
    return [one.name for one in partitions(connections["default"], TABLE)]


def holders() -> dict[str, str]:
    """Return the partition of each record, by id."""
    return dict(rows(f"SELECT id, tableoid::regclass::text FROM {TABLE}"))


def aged(*days: float, **fields: Any) -> list[Reflection]:
    return [ReflectionFactory(id=f"{day:05}", created_at=NOW - timedelta(days=day), **fields) for day in days]


def ids(store: SqlStore) -> list[str]:
    return sorted(one.id for one in store.walk(Reflection))


def remove(store: SqlStore, days: int = 90, **rules: Any) -> Report:
    return retain([store], Policy(max_age_days=days, **rules), now=now, force=True)


def test_statements_are_printed_and_nothing_is_changed(store: SqlStore) -> None:
    store.put(aged(10, 100))
    report = partition(apply=False)
    statements = report.domains["database"].details["statements"]
    assert any("PARTITION BY RANGE" in one for one in statements)
    assert report.domains["database"].counts == {TABLE: {"tables": 1, "to partition": 1}}
    assert not is_partitioned(connections["default"], TABLE)


def test_a_table_is_partitioned_with_all_its_records(store: SqlStore) -> None:
    records = [*aged(0, 10, 100, 500), ReflectionFactory(id="old", created_at=datetime(1, 1, 1, tzinfo=UTC))]
    store.put(records)
    before = [(row.pk, row.digest) for row in ReflectionRow.objects.order_by("pk")]
    report = partition()
    assert report.ok
    assert report.domains["database"].counts == {TABLE: {"tables": 1, "partitioned": 1}}
    assert [(row.pk, row.digest) for row in ReflectionRow.objects.order_by("pk")] == before
    assert {one.key: one for one in store.walk(Reflection)} == {one.key: one for one in records}
    assert holders()["old"] == "te_reflections_default"
    assert len(set(holders().values())) == 5
    assert ReflectionRow.objects.create(**_values("new")).pk == before[-1][0] + 1
    assert store.size() > 100_000


def test_the_second_run_adds_what_is_absent(partitioned: SqlStore) -> None:
    assert len(names()) == 4
    partitioned.put(aged(100, 500))
    assert set(holders().values()) == {"te_reflections_default"}
    report = partition(at=NOW + timedelta(days=40))
    assert report.ok
    assert len(names()) == 7
    assert len(set(holders().values()) - {"te_reflections_default"}) == 2
    assert ids(partitioned) == ["00100", "00500"]
    assert rows(f"SELECT count(*) FROM {TABLE}_keys") == [(2,)]
    assert partition(at=NOW + timedelta(days=40)).domains["database"].details["statements"] == []


@pytest.mark.parametrize(
    ("period", "name", "number"),
    [(Period.MONTH, "te_reflections_m2024_06", 4), (Period.WEEK, "te_reflections_w2024_05_27", 5),
     (Period.DAY, "te_reflections_d2024_06_01", 8)],
)  # fmt: skip
def test_partitions_hold_a_month_a_week_or_a_day(store: SqlStore, period: Period, name: str, number: int) -> None:
    partition(period=period)
    assert (names()[0], len(names())) == (name, number)
    wrong = next(other for other in Period if other is not period)
    (finding,) = partition(period=wrong).domains["database"].findings
    assert f"--period {period}" in finding.message


@pytest.mark.parametrize(
    "name", ["m2024_13", "m2024_1", "d2024_02_30", "x2024_01", "m2024_01_01", "d2024_01", "default"]
)
def test_other_names_are_no_partitions(name: str) -> None:
    assert Partition.of_name(TABLE, f"{TABLE}_{name}") is None


def test_names_and_times_of_partitions_fit() -> None:
    for period in Period:
        for start in (period.start(datetime(2023, 12, 31, 23, tzinfo=UTC)), period.start(NOW)):
            one = Partition(TABLE, start, period)
            assert Partition.of_name(TABLE, one.name) == one
            assert Partition.of_name(TABLE, one.of_run(7).name) == one.of_run(7)
            assert period.start(one.end) == one.end
            assert one.of_run(7).attached() == one


def test_keys_stay_unique(partitioned: SqlStore) -> None:
    first = ReflectionFactory(id="same", created_at=NOW)
    assert partitioned.add(first) == (first, True)
    other = ReflectionFactory(id="same", user_id=first.user_id, created_at=NOW - timedelta(days=40))
    assert partitioned.add(other) == (first, False)
    with pytest.raises(IntegrityError), transaction.atomic():
        ReflectionRow.objects.create(**_values("same", user_id=first.user_id))
    with pytest.raises(OrbError, match="taken"), transaction.atomic():
        partitioned.insert(partitioned.make_batch(Reflection, [other], [None]), [0], 1)
    assert ids(partitioned) == ["same"]


def test_a_record_is_replaced_wherever_it_is(partitioned: SqlStore) -> None:
    one = ReflectionFactory(id="moved", created_at=NOW)
    partitioned.put([one])
    moved = ReflectionFactory(
        id="moved", user_id=one.user_id, session_id=one.session_id, created_at=NOW + timedelta(days=31), tags=("a",),
        extra=Extra({"more": [1, None]}),
    )  # fmt: skip
    partitioned.put([moved])
    assert holders() == {"moved": "te_reflections_m2024_07"}
    assert partitioned.fetch(Reflection, [one.key]) == {one.key: moved}
    assert partitioned.delete(Reflection, [one.key]) == 1
    assert rows(f"SELECT * FROM {TABLE}_keys") == []
    assert partitioned.add(one) == (one, True)
    with pytest.raises(Conflict):
        partitioned.put([one], expect="0" * 64)
    with pytest.raises(Exception, match="the key of a row never changes"), transaction.atomic():
        rows(f"UPDATE {TABLE} SET id = 'other'")


def test_the_key_of_a_dropped_partition_is_free(partitioned: SqlStore) -> None:
    (one,) = aged(0)
    partitioned.put([one])
    rows("ALTER TABLE te_reflections DETACH PARTITION te_reflections_m2024_06")
    rows("DROP TABLE te_reflections_m2024_06")
    assert partitioned.add(one) == (one, True)
    assert partitioned.add(one) == (one, False)
    assert holders() == {one.id: "te_reflections_default"}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, CASES, 20))
def test_the_same_records_survive_as_without_partitions(partitioned: SqlStore, first: int) -> None:
    for seed in range(first, first + 20):
        policy, records = policies.some_case(seed)
        expected = policies.survivors(policy, records)
        partitioned.put(records)
        partition()
        report = retain([partitioned], policy, now=lambda: policies.NOW, force=True)
        assert {one.key for one in partitioned.walk(Reflection)} == expected, (seed, policy)
        counts = report.domains["te"].counts["reflections"]
        assert counts == {"read": len(records), "kept": len(expected), "removed": len(records) - len(expected)}
        undo(str(report.run), [partitioned], now=lambda: policies.NOW)
        assert {one.key: one for one in partitioned.walk(Reflection)} == {one.key: one for one in records}
        partitioned.delete(Reflection, [one.key for one in records])


def test_whole_partitions_are_detached_and_other_rows_removed(store: SqlStore) -> None:
    store.put(aged(1, 80, 91, 150, 200, 210))
    partition()
    preview = retain([store], Policy(max_age_days=90), now=now, force=True, dry_run=True)
    assert preview.domains["te"].facts["would_go"] == 4
    report = remove(store)
    assert ids(store) == ["00001", "00080"]
    assert report.domains["te"].counts["reflections"] == {"read": 6, "kept": 2, "removed": 4}
    run = Run.objects.get(pk=report.run)
    assert run.counts["te"]["reflections"]["removed"] == 4
    detached = [one.partition.name for one in detached_of([TE], "default")]
    assert detached == report.domains["te"].details["detached"]
    assert detached == [f"te_reflections_run{run.pk}_m{month}" for month in ("2023_11", "2024_01")]
    assert Change.objects.filter(run=run).count() == 1  # of a partition with a row that is young enough
    restored = undo(str(run.pk), [store], now=now)
    assert restored.domains["te"].counts["reflections"]["restored"] == 4
    assert ids(store) == ["00001", "00080", "00091", "00150", "00200", "00210"]
    assert not list(detached_of([TE], "default"))
    assert Run.objects.get(pk=run.pk).state == RunState.ROLLED_BACK
    assert remove(store).domains["te"].counts["reflections"]["removed"] == 4


def test_too_much_and_a_row_that_does_not_decode_stop_a_partition(store: SqlStore) -> None:
    store.put(aged(1, 150, 200))
    partition()
    with pytest.raises(OrbError, match="--force"):
        retain([store], Policy(max_age_days=90), now=now)
    assert len(ids(store)) == 3
    rows(f"UPDATE {TABLE} SET tags = '[1]' WHERE id = '00150'")
    report = remove(store)
    assert ids(store) == ["00001"]  # the row that does not decode is not among the records
    assert set(holders()) == {"00001", "00150"}
    assert report.domains["te"].counts["reflections"] == {"read": 3, "kept": 2, "removed": 1}


def test_a_partition_whose_keys_were_taken_comes_back_without_these(store: SqlStore) -> None:
    store.put(aged(1, 150, 151, user_id="ana"))
    partition()
    run = remove(store).run
    taken = ReflectionFactory(id="00150", user_id="ana", created_at=NOW, input="another")
    store.put([taken])
    report = undo(str(run), [store], now=now)
    counts = report.domains["te"].counts["reflections"]
    assert (counts["restored"], counts["kept"], report.ok) == (1, 1, False)
    assert "taken again" in report.domains["te"].findings[0].message
    assert store.fetch(Reflection, [taken.key]) == {taken.key: taken}
    assert ids(store) == ["00001", "00150", "00151"]
    store.delete(Reflection, [taken.key])
    assert undo(str(run), [store], now=now).domains["te"].counts["reflections"]["restored"] == 1
    assert ids(store) == ["00001", "00150", "00151"]


def test_detached_partitions_are_dropped_when_the_undo_window_is_over(store: SqlStore) -> None:
    store.put(aged(1, 150))
    partition()
    remove(store)
    assert drop_expired([TE], NOW) == 0
    assert drop_expired([TE], NOW + timedelta(seconds=1)) == 1
    assert not list(detached_of([TE], "default"))


def test_a_user_is_erased_from_detached_partitions(store: SqlStore) -> None:
    store.put([*aged(1, 150, user_id="ana"), *aged(2, 151, user_id="bo")])
    partition()
    run = remove(store).run
    assert erase_rows("ana", [TE, LUNA], "default").changes == 1
    undo(str(run), [store], now=now)
    assert ids(store) == ["00002", "00151"]


def test_texts_in_detached_partitions_are_not_forgotten_by_sealing(store: SqlStore, settings: Any) -> None:
    store.put(aged(1, 150))
    partition()
    remove(store)
    with pytest.raises(OrbError, match="Undo these runs"):
        seal_database(Report(), [TE, LUNA], apply=True, unseal=False, progress=silent)


def test_an_interrupted_run_is_resumed(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(aged(1, 150, 200, 250))
    partition()
    act, times = PartitionedRemoval._detach, []

    def failing(removal: Any, one: Partition, report: Report) -> int:
        times.append(one)
        if len(times) == 2:
            raise RuntimeError("the power has failed")
        return act(removal, one, report)

    monkeypatch.setattr(PartitionedRemoval, "_detach", failing)
    with pytest.raises(RuntimeError):
        remove(store)
    assert ids(store) == ["00001", "00150", "00200"]
    assert remove(store).domains["te"].counts["reflections"] == {"read": 3, "kept": 1, "removed": 2}


def test_maintenance_makes_the_next_partitions(partitioned: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    later = NOW + timedelta(days=180)
    monkeypatch.setattr("orbsite.conf.checks.utc_now", lambda: NOW)
    assert check_partitions(databases=["default"]) == []
    monkeypatch.setattr("orbsite.conf.checks.utc_now", lambda: later)
    (message,) = check_partitions(databases=["default"])
    assert (message.id, "2024-11-01" in message.msg) == ("orb.W006", True)
    partitioned.put(aged(-180))
    assert add_partitions(later, [TE, LUNA]) == 4
    assert add_partitions(later, [TE, LUNA]) == 0
    assert check_partitions(databases=["default"]) == []
    assert holders() == {"-0180": "te_reflections_m2024_11"}


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE UNIQUE INDEX once ON te_reflections (id)", "its unique index once lacks created_at"),
        ("CREATE TABLE notes (n bigint REFERENCES te_reflections (row_id))", "the foreign key notes_n_fkey"),
        (
            "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
            "CREATE TRIGGER watched BEFORE INSERT ON te_reflections FOR EACH ROW EXECUTE FUNCTION watch()",
            "its trigger watched would be lost",
        ),
        ("CREATE PUBLICATION changes FOR TABLE te_reflections", "the publication changes has it"),
        (
            "DROP TABLE te_reflections; CREATE TABLE te_reflections (row_id bigint, user_id text, id text, "
            "created_at timestamptz, PRIMARY KEY (user_id, id)) PARTITION BY HASH (user_id)",
            "it is partitioned by something else",
        ),
    ],
)
def test_what_something_else_has_done_stops_it(store: SqlStore, statement: str, message: str) -> None:
    rows(statement)
    report = partition()
    assert not report.ok
    assert message in report.domains["database"].findings[0].message
    assert names() == []


def test_a_failure_keeps_nothing(store: SqlStore) -> None:
    store.put(aged(1))
    rows("CREATE VIEW shown AS SELECT id FROM te_reflections")
    with pytest.raises(OrbError, match="nothing of this step was kept"):
        partition()
    assert not is_partitioned(connections["default"], TABLE)
    assert ids(store) == ["00001"]


def test_sqlite_has_no_partitions() -> None:
    with pytest.raises(OrbError, match="not PostgreSQL"):
        partition()
    assert add_partitions(NOW, [TE]) == 0
    assert drop_expired([TE], NOW) == 0


def test_roles_keep_their_rights(store: SqlStore) -> None:
    rows("CREATE ROLE orb_reader; GRANT SELECT ON te_reflections TO orb_reader")
    rows("CREATE ROLE orb_writer; GRANT SELECT, INSERT ON te_reflections TO orb_writer WITH GRANT OPTION")
    partition()
    assert rows("SELECT has_table_privilege('orb_reader', 'te_reflections', 'SELECT')") == [(True,)]
    assert rows("SELECT has_table_privilege('orb_writer', 'te_reflections_keys', 'INSERT')") == [(True,)]
    rows("SET LOCAL ROLE orb_writer")
    ReflectionRow.objects.create(**_values("by the writer"))
    rows("RESET ROLE")
    assert ids(store) == ["by the writer"]


def _values(name: str, **more: Any) -> dict[str, Any]:
    known = {"user_id": "ana", "session_id": "s", "input": "i", "output": "o", "created_at": NOW}
    return {"id": name, **known, **more}
