"""An instant that another program has spelled otherwise in SQLite is the same instant for every reader."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from orbsite.operations.records.sanitize import sanitize
from orbsite.storage.base.snapshot import snapshots
from orbsite.storage.findings import Finding
from orbsite.storage.records.digest import digest
from orbsite.storage.sql.store import SqlStore
from orbsite.storage.statistics.sessions import groups
from te.domain import DOMAIN
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.bad_cells import reflections

pytestmark = pytest.mark.django_db

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
SPELLINGS = [
    ("2024-01-02T12:00:00Z", NOON),
    ("2024-01-02T12:00:00", NOON),
    ("2024-01-02 12:00:00+00:00", NOON),
    ("2024-01-02 12:00:00Z", NOON),
    ("2024-01-02T17:30:00.000+05:30", NOON),
    ("2024-01-02 12:00:00.5", NOON + timedelta(milliseconds=500)),
    ("2024-01-02 12:00:00.123456789", NOON + timedelta(microseconds=123456)),
    ("2024-01-02 12:00", NOON),
    ("2024-01-02", NOON.replace(hour=0)),
]


@pytest.fixture(params=SPELLINGS, ids=lambda one: one[0])
def spelled(request: pytest.FixtureRequest) -> tuple[SqlStore, list[Reflection], Reflection, str]:
    text, moment = request.param
    hours = [NOON + timedelta(hours=hour) for hour in (-30, -3, -1, 1, 3, 30)]
    records = [
        one.__class__(**{**_fields(one), "created_at": at}) for one, at in zip(reflections(6), hours, strict=True)
    ]
    odd = records[2].__class__(**{**_fields(records[2]), "id": "odd", "created_at": moment})
    store = SqlStore(DOMAIN)
    store.put([*records, odd])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE te_reflections SET created_at = %s WHERE id = 'odd'", [text])
    return store, records, odd, text


def _fields(record: Reflection) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def test_every_reader_gives_the_same_record(spelled: tuple[SqlStore, list[Reflection], Reflection, str]) -> None:
    store, records, odd, _ = spelled
    findings: list[Finding] = []
    assert store.fetch(Reflection, [odd.key]) == {odd.key: odd}
    assert odd in store.find(Reflection, {"user_id": "ana"}, findings=findings)
    assert odd in list(store.walk(Reflection, page=2, findings=findings))
    row = store.rows(Reflection, [odd.key])[odd.key]
    assert row.record == odd
    with snapshots([store], "ana") as (taken,):
        assert odd in [one.record for one in taken.records(Reflection, findings)]
    assert ReflectionRow.objects.get(id="odd").reading().record == odd
    assert store.refused() == 0
    total = sum(int(digest(one), 16) for one in (*records, odd)) % (1 << 256)
    assert store.sums(Reflection).digest == f"{total:064x}"
    [group] = groups(store, Reflection, "ana", limit=5, findings=findings)
    assert (group.number, group.newest) == (7, records[-1].created_at)
    assert findings == []


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("oldest_first", [True, False])
def test_pages_by_a_records_order_neither_skip_nor_repeat(
    spelled: tuple[SqlStore, list[Reflection], Reflection, str], limit: int, oldest_first: bool
) -> None:
    store, records, odd, _ = spelled
    seen: list[Reflection] = []
    while page := store.find(
        Reflection, {"user_id": "ana"}, after=seen[-1].order if seen else None, limit=limit, oldest_first=oldest_first
    ):
        seen += page
        assert len(seen) < 20
    assert sorted(one.id for one in seen) == sorted(one.id for one in (*records, odd))


def test_no_record_is_returned_that_is_out_of_the_time_asked_for(
    spelled: tuple[SqlStore, list[Reflection], Reflection, str],
) -> None:
    store, _, odd, _ = spelled
    later = odd.created_at + timedelta(minutes=1)
    assert odd not in store.find(Reflection, since=later)
    assert odd not in store.find(Reflection, until=odd.created_at)


def test_sanitizing_spells_it_anew(spelled: tuple[SqlStore, list[Reflection], Reflection, str]) -> None:
    store, records, odd, _ = spelled
    report = sanitize([DOMAIN], now=lambda: NOON)
    assert (report.domains["te"].total("mended"), report.domains["te"].total("valid")) == (1, 6)
    sanitize([DOMAIN], now=lambda: NOON, apply=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT +created_at FROM te_reflections WHERE id = 'odd'")
        assert cursor.fetchone() == (str(odd.created_at.replace(tzinfo=None)),)
    expected = sorted((*records, odd), key=lambda one: one.order, reverse=True)
    assert store.find(Reflection, {"user_id": "ana"}) == expected
    assert sanitize([DOMAIN], now=lambda: NOON).domains["te"].total("valid") == 7
