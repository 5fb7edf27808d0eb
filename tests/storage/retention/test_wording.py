"""What a policy does, in sentences."""

from __future__ import annotations

from typing import Any

import pytest

from orbsite.storage.retention.policy import Policy
from orbsite.storage.retention.wording import sentences
from te.records import Reflection


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"max_age_days": 90}, "Remove reflections that are older than 90 days. Keep all others."),
        ({"max_age_days": 1}, "Remove reflections that are older than 1 day. Keep all others."),
        (
            {"max_age_days": 0.5, "max_per_session": 1000},
            "Remove reflections that are older than 0.5 days or beyond the newest 1,000 of each session. "
            "Keep all others.",
        ),
        (
            {"keep_within_days": 90, "keep_tags": ("pinned", "home")},
            "Keep reflections that are of the last 90 days or tagged “pinned” or “home”. Remove all others.",
        ),
        (
            {"keep_last": 5, "max_per_session": 10},
            "Keep reflections that are among the newest 5 of their session. Remove all others. "
            "Also remove those that are beyond the newest 10 of each session, even if a rule keeps them.",
        ),
        (
            {"keep_daily": 7, "keep_weekly": 1, "keep_last_of_user": 3},
            "Keep reflections that are among the newest 3 of their user, the newest of one of the last 7 days with any "
            "or the newest of one of the last 1 week with any. Remove all others.",
        ),
    ],
)
def test_a_policy_is_told_in_sentences(rules: dict[str, Any], told: str) -> None:
    assert sentences(Policy(**rules), Reflection) == told
