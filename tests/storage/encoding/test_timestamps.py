from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orbsite.storage.encoding.timestamps import parse, spell

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)
NOON = datetime(2024, 1, 1, 12, 30, 15, tzinfo=UTC)
NAIVE = ["names no time zone; read as UTC"]
FINE = ["is finer than a microsecond; the digits beyond were cut"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-01T12:30:15.000Z", NOON),
        ("2024-01-01T12:30:15Z", NOON),
        ("2024-01-01t12:30:15z", NOON),
        ("2024-01-01 12:30:15Z", NOON),
        ("2024-01-01T12:30:15+00:00", NOON),
        ("2024-01-01T12:30:15-00:00", NOON),
        ("2024-01-01T14:30:15+02:00", NOON),
        ("2024-01-01T14:30:15+0200", NOON),
        ("2024-01-01T14:30:15+02", NOON),
        ("2024-01-01T18:00:15+05:30", NOON),
        ("2023-12-31T23:30:15-13:00", NOON),
        ("2024-01-02T12:29:15+23:59", NOON),
        ("20240101T123015Z", NOON),
        ("20240101T143015+0200", NOON),
        ("2024-W01-1T12:30:15Z", NOON),
        ("2024W011T123015Z", NOON),
        ("2024-001T12:30:15Z", NOON),
        ("2024001T123015Z", NOON),
        ("+002024-01-01T12:30:15.000Z", NOON),
        ("2024-01-01T12:30Z", NOON.replace(second=0)),
        ("2024-01-01T12Z", NOON.replace(minute=0, second=0)),
        ("2024-01-01T12:30:15.5Z", NOON.replace(microsecond=500_000)),
        ("2024-01-01T12:30:15,25Z", NOON.replace(microsecond=250_000)),
        ("2024-01-01T12:30:15.000001Z", NOON.replace(microsecond=1)),
        ("2024-01-01T12:30:15.000001000Z", NOON.replace(microsecond=1)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2024-366T00Z", datetime(2024, 12, 31, tzinfo=UTC)),
        ("2020-W53-7T00Z", datetime(2021, 1, 3, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("0001-01-01T14:00:00+14:00", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_every_form_with_a_zone_is_read_without_remark(text: str, moment: datetime) -> None:
    assert parse(text) == (moment, [])
    assert parse(text)[0].tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "moment", "remarks"),
    [
        ("2024-01-01", NEW_YEAR, NAIVE),
        ("20240101", NEW_YEAR, NAIVE),
        ("2024-W01-1", NEW_YEAR, NAIVE),
        ("2024-001", NEW_YEAR, NAIVE),
        ("2024-01-01T12:30:15", NOON, NAIVE),
        ("2024-01-01 12:30:15.000", NOON, NAIVE),
        ("2024-01-01T12:30:15.1234567Z", NOON.replace(microsecond=123_456), FINE),
        ("2024-01-01T12:30:15.999999999Z", NOON.replace(microsecond=999_999), FINE),
        ("2024-01-01T12:30:15.000000001", NOON, NAIVE + FINE),
    ],
)
def test_what_is_assumed_or_cut_is_remarked(text: str, moment: datetime, remarks: list[str]) -> None:
    assert parse(text) == (moment, remarks)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "infinity",
        "-infinity",
        "NaN",
        "1704067200",
        "2024",
        "2024-01",
        "2024-1-1",
        "2024-0101",
        "202401-01",
        "01/02/2024",
        "2024-01-01T",
        "2024-01-01Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T24:00Z",
        "2024-06-30T23:59:60Z",
        "2024-01-01T12:60:00Z",
        "2024-01-01T12:30:15.Z",
        "2024-01-01T12:30:15 Z",
        "2024-01-01T12:30:15+5",
        "2024-01-01T12:30:15+24:00",
        "2024-01-01T12:30:15+05:75",
        "2024-01-01T12:30:15+0560",
        "2024-01-01T12:30:15 Europe/Berlin",
        "2024-01-01T12:30:15Z\n",
        " 2024-01-01T12:30:15Z",
        "2024-01-01T12:30:15Z\x00",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2023-366T00:00:00Z",
        "2024-000T00:00:00Z",
        "2024-W00-1T00:00:00Z",
        "2024-W53-1T00:00:00Z",
        "2024-W01-8T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "-000001-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "+010000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-00:01",
        "２０２４-01-01T00:00:00Z",
        "2024-01-01T1２:00:00Z",
        "2024−01−01T00:00:00Z",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no (ISO 8601 time|time between)"):
        parse(text)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOON, "2024-01-01T12:30:15.000Z"),
        (NOON.replace(microsecond=120_000), "2024-01-01T12:30:15.120Z"),
        (NOON.replace(microsecond=123_400), "2024-01-01T12:30:15.1234Z"),
        (NOON.replace(microsecond=1), "2024-01-01T12:30:15.000001Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
        (NOON.astimezone(timezone(timedelta(hours=-9, minutes=-30))), "2024-01-01T12:30:15.000Z"),
    ],
)
def test_an_instant_is_spelled_in_utc_with_three_digits_or_more(moment: datetime, text: str) -> None:
    assert spell(moment) == text


ZONES = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)
ANYWHERE = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)


@given(st.datetimes(timezones=st.just(UTC)) | ANYWHERE)
@example(datetime.min.replace(tzinfo=UTC))
@example(datetime.max.replace(tzinfo=UTC))
def test_a_spelled_instant_is_read_as_the_same_instant(moment: datetime) -> None:
    text = spell(moment)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.(\d{3}|\d{3,5}[1-9])Z", text)
    assert parse(text) == (moment, [])
