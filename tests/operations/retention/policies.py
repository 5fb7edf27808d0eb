"""Random policies and records for retention, and a second statement of what a policy means: slow, and plain."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from orbsite.storage.records.record import Key
from orbsite.storage.retention.policy import Policy
from te.records import Reflection

NOW = datetime(2024, 3, 4, 12, 30, 0, 250_000, tzinfo=UTC)
_IDS = ["a", "B", "b", "Z", "é", "\u007e", "\uff5e", "🚀", "_", "10", "9", "%", "'"]
_SESSIONS = ["default", "Ünter", "a'b", "\uff5e", "🚀"]
_USERS = ["ana", "bo", "Åsa"]
_TAGS = ["pinned", "success", 'a"b', "予約"]
_TIMES = [
    timedelta(),
    timedelta(microseconds=1),
    timedelta(milliseconds=250),
    timedelta(days=8, microseconds=250_001),  # the last microsecond of a second
    timedelta(hours=12, minutes=30, milliseconds=250),  # the midnight before
    timedelta(hours=12, minutes=30, milliseconds=251),
    timedelta(days=1),
    timedelta(days=3, hours=12, minutes=30, milliseconds=250),  # the first of the month
    timedelta(days=7),
    timedelta(days=30),
    timedelta(days=64),  # the year before
    timedelta(days=90),
    timedelta(days=90, microseconds=1),
    timedelta(days=400),
    timedelta(hours=-6),
]


def some_policy(draw: random.Random) -> Policy:
    rules: dict[str, Any] = {
        "max_age_days": draw.choice([0, 1, 7, 30.5, 90, 365]),
        "max_per_session": draw.choice([0, 1, 2, 3, 5]),
        "keep_within_days": draw.choice([0.25, 1, 7, 90]),
        "keep_last": draw.choice([1, 2, 4]),
        "keep_last_of_user": draw.choice([1, 2, 5]),
        "keep_daily": draw.choice([1, 2, 7]),
        "keep_weekly": draw.choice([1, 2, 5]),
        "keep_monthly": draw.choice([1, 2, 12]),
        "keep_tags": tuple(draw.sample(_TAGS, draw.choice([1, 2]))),
    }
    names = draw.sample(sorted(rules), draw.choice([1, 1, 2, 3, 4]))
    return Policy(**{name: rules[name] for name in names})


def some_records(draw: random.Random) -> list[Reflection]:
    sessions, number = draw.sample(_SESSIONS, draw.choice([1, 2, 3])), draw.choice([3, 6, 12, 20])
    names = [f"{draw.choice(_IDS)}{draw.choice(_IDS)}{at // 2}" for at in range(0, number, 2) for _ in range(2)]
    users = [user for _ in range(0, number, 2) for user in draw.sample(_USERS, 2)]
    if draw.random() < 0.5:  # of two users who have the same ids
        names[1::2] = names[::2]
    return [
        Reflection(
            id=names[at],
            user_id=users[at],
            session_id=draw.choice(sessions),
            input="i",
            output="o",
            tags=tuple(draw.sample(_TAGS, draw.choice([0, 1, 2]))),
            created_at=NOW - draw.choice(_TIMES) - draw.choice([timedelta(), timedelta(), timedelta(seconds=1)]),
        )
        for at in range(number)
    ]


def survivors(policy: Policy, records: list[Reflection]) -> set[Key]:
    """Return who stays, told of each record by comparing it with every other."""
    return {one.key for one in records if _stays(policy, one, records)}


def _stays(policy: Policy, one: Reflection, records: list[Reflection]) -> bool:
    session = [other for other in records if other.session_id == one.session_id]
    place = 1 + sum(_is_newer(other, one) for other in session)
    if policy.max_age_days is not None and NOW - one.created_at > timedelta(days=policy.max_age_days):
        return False
    if policy.max_per_session is not None and place > policy.max_per_session:
        return False
    keeps = [*_kept(policy, one, records, place), *_kept_of_periods(policy, one, session)]
    return any(keeps) if keeps else True


def _kept(policy: Policy, one: Reflection, records: list[Reflection], place: int) -> Iterator[bool]:
    if policy.keep_within_days is not None:
        yield NOW - one.created_at <= timedelta(days=policy.keep_within_days)
    if policy.keep_last is not None:
        yield place <= policy.keep_last
    if policy.keep_last_of_user is not None:
        theirs = [other for other in records if other.user_id == one.user_id]
        yield sum(_is_newer(other, one) for other in theirs) < policy.keep_last_of_user
    if policy.keep_tags:
        yield bool(set(policy.keep_tags) & set(one.tags))


def _kept_of_periods(policy: Policy, one: Reflection, session: list[Reflection]) -> Iterator[bool]:
    for number, period in (
        (policy.keep_daily, lambda moment: moment.date().toordinal()),
        (policy.keep_weekly, lambda moment: (moment.date().toordinal() - 1) // 7),  # day 1 was a Monday
        (policy.keep_monthly, lambda moment: moment.year * 12 + moment.month),
    ):
        if number is not None:
            mine = period(one.created_at)
            is_newest = not any(_is_newer(other, one) for other in session if period(other.created_at) == mine)
            later = {period(other.created_at) for other in session if period(other.created_at) > mine}
            yield is_newest and len(later) < number


def _is_newer(other: Reflection, one: Reflection) -> bool:
    return (other.created_at, *map(_points, reversed(other.key))) > (one.created_at, *map(_points, reversed(one.key)))


def _points(name: str) -> list[int]:
    return [ord(letter) for letter in name]


def some_case(seed: int) -> tuple[Policy, list[Reflection]]:
    """Return a policy and records of which it keeps some and drops some."""
    draw = random.Random(seed)
    while True:
        policy, records = some_policy(draw), some_records(draw)
        if 0 < len(survivors(policy, records)) < len(records):
            return policy, records
