"""Digests of many records at a time are those of each record's canonical JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from orbsite.storage.encoding.json_printer import canonical
from orbsite.storage.records.digest import Columns
from te.records import Reflection
from tests.support.factories import ReflectionFactory

WHOLE = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "moments",
    [
        [],
        [WHOLE],
        [WHOLE + timedelta(milliseconds=120), WHOLE + timedelta(milliseconds=1)],
        [WHOLE + timedelta(milliseconds=120), WHOLE, FIRST, LAST],
        [WHOLE + timedelta(microseconds=100_010), WHOLE + timedelta(milliseconds=7)],
    ],
)
def test_times_and_digests_of_many_records_are_those_of_each(moments: list[datetime]) -> None:
    records = [ReflectionFactory(created_at=moment) for moment in moments]
    many = Columns(Reflection, records)
    assert many.spelled("created_at") == [moment.isoformat() for moment in moments]
    assert many.digests() == [sha256(canonical(record.as_json())).hexdigest() for record in records]
