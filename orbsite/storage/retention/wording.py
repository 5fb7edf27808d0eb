"""A retention policy as sentences."""

from __future__ import annotations

from collections.abc import Iterator

from orbsite.storage.records.record import Record
from orbsite.storage.retention.policy import DAILY, MONTHLY, WEEKLY, Policy, group_of

_PERIODS = {DAILY: "day", WEEKLY: "week", MONTHLY: "month"}


def sentences(policy: Policy, kind: type[Record]) -> str:
    """Return what a policy does with the records of a kind: what its keep rules keep, then what its limits remove."""
    group = group_of(kind)
    kept, removed = _joined(list(_kept(policy, group))), _joined(list(_removed(policy, group)))
    if not policy.has_keep_rules:
        return f"Remove {kind.plural} that are {removed}. Keep all others."
    told = f"Keep {kind.plural} that are {kept}. Remove all others."
    return f"{told} Also remove those that are {removed}, even if a rule keeps them." if removed else told


def _kept(policy: Policy, group: str) -> Iterator[str]:
    if policy.keep_within_days is not None:
        yield f"of the last {_number(policy.keep_within_days, 'day')}"
    if policy.keep_last is not None:
        yield f"among the newest {policy.keep_last:,} of their {group}"
    if policy.keep_last_of_user is not None:
        yield f"among the newest {policy.keep_last_of_user:,} of their user"
    for period, number in policy.periods.items():
        name = _PERIODS[period]
        yield f"the newest of one of the last {_number(number, name)} with any"
    if policy.keep_tags:
        yield f"tagged {_joined([f'“{tag}”' for tag in policy.keep_tags])}"


def _removed(policy: Policy, group: str) -> Iterator[str]:
    if policy.max_age_days is not None:
        yield f"older than {_number(policy.max_age_days, 'day')}"
    if policy.max_per_session is not None:
        yield f"beyond the newest {policy.max_per_session:,} of each {group}"


def _number(number: float, unit: str) -> str:
    return f"{number:,g} {unit}{'' if number == 1 else 's'}"


def _joined(parts: list[str]) -> str:
    return " or ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
