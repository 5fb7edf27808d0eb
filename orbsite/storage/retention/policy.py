"""Retention policies: rules for which records are kept and which are removed, and the texts of the reasons.

A policy has keep rules, each of which can keep a record, and two limits, which remove a record regardless of the rules.
It is applied to each group of records, for example a session, newest first by (time, id), ids by code point.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import msgspec

from orbsite.storage.errors import InvalidPolicy
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Record, is_ordered_by_time

DAILY, WEEKLY, MONTHLY = "daily", "weekly", "monthly"
_TRUSTED = timedelta(days=1)
"""How far after the current time a record's time may be before it counts as a future time."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A retention policy. Raises InvalidPolicy for a policy without rules, which would remove everything or nothing."""

    keep_within_days: float | None = None
    keep_last: int | None = None
    keep_last_of_user: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_tags: tuple[str, ...] = ()
    max_age_days: float | None = None
    """A limit: older records are removed; a record of exactly this age is kept."""
    max_per_session: int | None = None
    """A limit: only this many records of each group are kept, the newest."""

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        if not any(value not in (None, ()) for value in given.values()):
            raise InvalidPolicy(f"a policy without any rule is refused; give one of: {', '.join(given)}")
        for name, value in given.items():
            if isinstance(value, int | float) and not _is_fit(name, value):
                raise InvalidPolicy(f"{name} is {value}; give more than 0, or, for the limits, 0 or more")

    @classmethod
    def of_json(cls, rules: Any) -> Policy:
        """Return the policy for parsed JSON, without type conversions. Raises InvalidPolicy."""
        try:
            return msgspec.convert(rules, cls)
        except msgspec.ValidationError as problem:
            raise InvalidPolicy(f"the policy is not valid: {problem}; its rules are {', '.join(_RULES)}") from problem

    def as_json(self) -> dict[str, Any]:
        """Return the rules that are set, in the form that `of_json` takes."""
        rules: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return rules

    @property
    def periods(self) -> dict[str, int]:
        """The periods whose newest record is kept, and the number of periods for each."""
        kept = {DAILY: self.keep_daily, WEEKLY: self.keep_weekly, MONTHLY: self.keep_monthly}
        return {name: number for name, number in kept.items() if number is not None}

    @property
    def has_keep_rules(self) -> bool:
        """Whether the policy has a keep rule."""
        return any(bool(getattr(self, name)) for name in _RULES if name.startswith("keep_"))

    @property
    def asks_the_clock(self) -> bool:
        """Whether the policy depends on the current time."""
        return self.max_age_days is not None or self.keep_within_days is not None

    def check(self, kind: type[Record]) -> None:
        """Raise InvalidPolicy if a rule does not apply to records of this kind."""
        if self.keep_tags and kind.tag_field is None:
            raise InvalidPolicy(f"{kind.plural} have no tags; leave keep_tags out")

    def too_old(self, now: datetime) -> datetime | None:
        """Return the time before which all records are removed; None if the policy has no such limit."""
        return _before(now, self.max_age_days)

    def within(self, now: datetime) -> datetime | None:
        """Return the time from which all records are kept; None if the policy has no such rule."""
        return None if self.keep_within_days is None else _before(now, self.keep_within_days) or _first(now)

    def ahead(self, now: datetime) -> datetime | None:
        """Return the time after which records have future times and are kept; None if no rule depends on the time."""
        try:
            return now + _TRUSTED if self.asks_the_clock else None
        except OverflowError:  # no record can be later
            return None


_RULES = Policy.__struct_fields__


def _is_fit(name: str, value: float) -> bool:
    return math.isfinite(value) and (value > 0 if name.startswith("keep_") else value >= 0)


class Reasons:
    """The texts of the reasons to keep or remove records of a kind by a policy."""

    def __init__(self, kind: type[Record], policy: Policy) -> None:
        group = group_of(kind)
        self.old = f"older than {_plain(policy.max_age_days)} days"
        self.beyond = f"beyond the newest {policy.max_per_session} of its {group}"
        self.unkept = "no rule keeps it"
        self.within = f"within {_plain(policy.keep_within_days)} days"
        self.last = f"among the newest {policy.keep_last} of its {group}"
        self.of_user = f"among the newest {policy.keep_last_of_user} of its user"
        self.no_limit = "within the limits"
        self.future = "from the future, of which no rule that asks the clock can judge"

    @staticmethod
    def of_period(start: str) -> str:
        """Return the reason to keep the newest record of a period."""
        return f"the newest of {start}"

    @staticmethod
    def of_tag(tag: str) -> str:
        """Return the reason to keep a record with a tag."""
        return f"has the tag {tag}"


def group_of(kind: type[Record]) -> str:
    """Return the word for a group of records of a kind, such as session; empty for a kind without groups."""
    return (kind.group_field or "").removesuffix("_id")


def retained(domain: Domain) -> list[type[Record]]:
    """Return the kinds of records to which retention applies: those with a group field and ordered by time."""
    return [kind for kind in domain.kinds if kind.group_field and is_ordered_by_time(kind)]


def _before(now: datetime, days: float | None) -> datetime | None:
    try:
        return None if days is None else now - timedelta(days=days)
    except OverflowError:  # no record can be older
        return None


def _first(now: datetime) -> datetime:
    return datetime.min.replace(tzinfo=now.tzinfo)


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:g}"
