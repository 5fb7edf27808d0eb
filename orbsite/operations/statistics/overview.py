"""The statistics of a store for the dashboard: counts by day, by age and by value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from orbsite.models.retention import RetentionPolicy
from orbsite.operations.statistics.stats import counts, span_of
from orbsite.storage.base.store import Store
from orbsite.storage.errors import InvalidPolicy
from orbsite.storage.records.record import Record, is_ordered_by_time
from orbsite.storage.statistics.counts import Statistics, statistics_of

DAYS = 30
TAGS = 5
"""The number of tags that are shown by name."""
VALUES = 12
"""The number of values that are shown of each tally."""
AGES = (1.0, 7.0, 30.0, 90.0, 180.0, 365.0, 730.0)
"""The ages in days by which records are counted, besides those of the policies."""


def overview(store: Store, now: Callable[[], datetime], limits: Sequence[float] | None = None) -> dict[str, Any]:
    """Return all dashboard statistics of a store, as JSON values: `counts`, `size` and `details`.

    Everything is counted, however long it takes. `limits` are ages in days from policies; by default they are looked
    up.
    """
    found = counts(store)
    size = found.pop("size")
    kind, statistics, moment = store.domain.kinds[0], statistics_of(store), now()
    details: dict[str, Any] = {"span": span_of(statistics, kind)}
    if details["span"] and is_ordered_by_time(kind):
        ages = sorted({*AGES, *(limits_of(store) if limits is None else limits)})
        details["days"] = _days(statistics, kind, last_day(moment, details["span"]))
        details["ages"] = [*map(list, zip(ages, statistics.before(kind, _ago(moment, ages)), strict=True))]
    details["tallies"] = {
        name: statistics.tally(which, field, VALUES)
        for name, (which, field) in store.domain.tallies.items()
        if field not in (which.tag_field, which.group_field)
    }
    return {"counts": found, "size": size, "details": details}


def limits_of(store: Store) -> list[float]:
    """Return the maximum ages in days that the policies over a store allow."""
    policies = RetentionPolicy.objects.filter(enabled=True, domain=store.domain.name, store=store.name)
    return [days for policy in policies if (days := limit_of(policy)) is not None]


def limit_of(policy: RetentionPolicy) -> float | None:
    """Return the maximum age in days that a policy allows, if it has one."""
    try:
        return policy.policy.max_age_days
    except InvalidPolicy:
        return None


def last_day(moment: datetime, span: Sequence[str]) -> date:
    """Return the last day to show: today, or the day of the newest record where all days up to today would be empty."""
    today = moment.astimezone(UTC).date()
    newest = date.fromisoformat(span[1][:10])
    return newest if newest <= today - timedelta(days=DAYS) else today


def _days(statistics: Statistics, kind: type[Record], last: date) -> dict[str, Any]:
    back = min(DAYS - 1, (last - date.min).days)
    stack = statistics.stack(kind, [last - timedelta(days=ago) for ago in range(back, -1, -1)], TAGS)
    return {
        "first": stack.days[0].isoformat(),
        "by_tag": stack.by_tag,
        "other": stack.other,
        "untagged": stack.untagged,
    }


def _ago(moment: datetime, ages: Sequence[float]) -> list[datetime]:
    """Return the moments that many days ago, or the first moment of all for a longer time."""
    longest = (moment - datetime.min.replace(tzinfo=UTC)) / timedelta(days=1)
    return [moment - timedelta(days=min(days, longest)) for days in ages]
