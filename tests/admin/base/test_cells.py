from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orbsite.admin.base.cells import relative, text_cell, time_cell, user_cell

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        ({}, "just now"),
        ({"seconds": 59}, "just now"),
        ({"seconds": 60}, "1 minute ago"),
        ({"minutes": 59, "seconds": 59}, "59 minutes ago"),
        ({"minutes": 60}, "1 hour ago"),
        ({"hours": 23}, "23 hours ago"),
        ({"hours": 47}, "1 day ago"),
        ({"days": 30}, "30 days ago"),
        ({"days": 31}, "1 month ago"),
        ({"days": 364}, "11 months ago"),
        ({"days": 366}, "1 year ago"),
        ({"days": 3000}, "8 years ago"),
        ({"seconds": -30}, "just now"),
        ({"minutes": -90}, "in 1 hour"),
        ({"days": -3}, "in 3 days"),
    ],
)
def test_a_time_is_told_in_its_largest_unit(before: dict[str, float], shown: str) -> None:
    assert relative(NOW - timedelta(**before), NOW) == shown


def test_the_exact_time_is_in_the_title() -> None:
    cell = time_cell(NOW - timedelta(days=2), NOW)
    assert cell == '<time datetime="2026-02-27T12:00:00+00:00" title="2026-02-27 12:00:00 UTC">2 days ago</time>'
    assert time_cell(None, NOW) == "-"


def test_a_text_is_escaped_and_on_one_line() -> None:
    cell = text_cell('<a>\n  "b"', "Input")
    assert cell == (
        '<span class="orb-cell" data-label="Input" title="&lt;a&gt;\n  &quot;b&quot;" dir="auto">&lt;a&gt; &quot;b&quot;</span>'
    )
    assert text_cell(" \n") == ""


def test_a_user_without_an_id_has_no_page() -> None:
    assert user_cell("") == ""
    assert 'href="/admin/console/users/~Li4/"' in user_cell("..")
