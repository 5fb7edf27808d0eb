"""What the dashboard shows of a store: how much there is, by day, by age, and of which values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from orbsite.models.retention import RetentionPolicy
from orbsite.operations.statistics.stats import counts, store_name
from orbsite.storage.base.store import Store
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.errors import InvalidPolicy
from orbsite.storage.records.record import Record, is_ordered_by_time
from orbsite.storage.statistics.counts import Statistics, statistics_of

DAYS = 30
TAGS = 5
"""How many tags are told by name."""
VALUES = 12
"""How many values of each tally are told."""
AGES = (1.0, 7.0, 30.0, 90.0, 180.0, 365.0, 730.0)
"""The ages in days by which records are sorted, beside those that policies name."""


def overview(store: Store, now: Callable[[], datetime], limits: Sequence[float] | None = None) -> dict[str, Any]:
    """Return all that the dashboard shows of a store, as JSON has it: `counts`, `size`, and what is in `details`.

    Everything is counted, whatever it takes. `limits` are ages in days that policies name; they are looked up where
    they are not given.
    """
    found = counts(store)
    size = found.pop("size")
    kind, told, moment = store.domain.kinds[0], statistics_of(store), now()
    details: dict[str, Any] = {"span": _span(told, kind)}
    if details["span"] and is_ordered_by_time(kind):
        ages = sorted({*AGES, *(limits_of(store) if limits is None else limits)})
        details["days"] = _days(told, kind, last_day(moment, details["span"]))
        details["ages"] = [*map(list, zip(ages, told.before(kind, _ago(moment, ages)), strict=True))]
    details["tallies"] = {
        name: told.tally(which, field, VALUES)
        for name, (which, field) in store.domain.tallies.items()
        if field not in (which.tag_field, which.group_field)
    }
    return {"counts": found, "size": size, "details": details}


def limits_of(store: Store) -> list[float]:
    """Return the ages in days beyond which the policies over a store remove records."""
    policies = RetentionPolicy.objects.filter(enabled=True, domain=store.domain.name, store=store_name(store))
    return [days for policy in policies if (days := limit_of(policy)) is not None]


def limit_of(policy: RetentionPolicy) -> float | None:
    """Return the age in days beyond which a policy removes records, where it has one."""
    try:
        return policy.policy.max_age_days
    except InvalidPolicy:
        return None


def last_day(moment: datetime, span: Sequence[str]) -> date:
    """Return the last of the days to show: today, or that of the newest record where all days would be empty."""
    today = moment.astimezone(UTC).date()
    newest = date.fromisoformat(span[1][:10])
    return newest if newest <= today - timedelta(days=DAYS) else today


def _span(told: Statistics, kind: type[Record]) -> list[str] | None:
    span = told.span(kind) if kind.time_field else None
    return span and [spell(span[0]), spell(span[1])]


def _days(told: Statistics, kind: type[Record], last: date) -> dict[str, Any]:
    back = min(DAYS - 1, (last - date.min).days)
    stack = told.stack(kind, [last - timedelta(days=ago) for ago in range(back, -1, -1)], TAGS)
    return {
        "first": stack.days[0].isoformat(),
        "by_tag": stack.by_tag,
        "other": stack.other,
        "untagged": stack.untagged,
    }


def _ago(moment: datetime, ages: Sequence[float]) -> list[datetime]:
    """Return the moments so many days ago; the first of all where there is none so long ago."""
    longest = (moment - datetime.min.replace(tzinfo=UTC)) / timedelta(days=1)
    return [moment - timedelta(days=min(days, longest)) for days in ages]
