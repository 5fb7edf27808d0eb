"""Evaluates a policy for records in memory: keep or remove, with reasons. The SQL selection must give equal results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, Generic

from orbsite.storage.records.record import Key, R, tags_of
from orbsite.storage.retention.policy import DAILY, MONTHLY, WEEKLY, Policy, Reasons


@dataclass(frozen=True, slots=True)
class RetentionDecision(Generic[R]):
    """The decision to keep or remove a record, with its reasons."""

    record: R
    keep: bool
    reasons: tuple[str, ...]

    @property
    def key(self) -> Key:
        """The key of the record."""
        return self.record.key

    @property
    def reason(self) -> str:
        """All reasons in one line, separated by semicolons."""
        return "; ".join(self.reasons)


def decisions(kind: type[R], records: Iterable[R], policy: Policy, now: datetime) -> Iterator[RetentionDecision[R]]:
    """Yield the decision for each record, in the order of the records."""
    candidates = list(records)
    rules, words = _rules(kind, candidates, policy, now), Reasons(kind, policy)
    drops = {id(record): reason for record, reason in dropped(kind, candidates, policy, now)}
    ahead, moment = policy.ahead(now), _getter(kind.time_field)
    for record in candidates:
        if id(record) in drops:
            yield RetentionDecision(record, False, (drops[id(record)],))
        elif ahead is not None and moment(record) > ahead:
            yield RetentionDecision(record, True, (words.future,))
        elif not rules:
            yield RetentionDecision(record, True, (words.no_limit,))
        else:
            keeps = tuple(reason for rule in rules if (reason := rule(record)))
            yield RetentionDecision(record, bool(keeps), keeps or (words.unkept,))


def dropped(kind: type[R], records: Sequence[R], policy: Policy, now: datetime) -> Iterator[tuple[R, str]]:
    """Yield the records that the policy's limits remove, regardless of its keep rules, with their reasons."""
    words, oldest, most = Reasons(kind, policy), policy.too_old(now), policy.max_per_session
    ahead = policy.ahead(now)
    order, moment = attrgetter(*kind.order_fields), _getter(kind.time_field)
    beyond = set() if most is None else _beyond(records, _getter(kind.group_field), order, most)
    for record, at, name in zip(records, map(moment, records), map(id, records), strict=True):
        is_beyond = name in beyond and (ahead is None or at <= ahead)
        if oldest is not None and at < oldest:
            yield record, f"{words.old}; {words.beyond}" if is_beyond else words.old
        elif is_beyond:
            yield record, words.beyond


_Rule = Callable[[Any], str | None]
_Get = Callable[[Any], Any]


def _rules(kind: type[R], records: Sequence[R], policy: Policy, now: datetime) -> list[_Rule]:
    """Return the keep rules; each is a function that returns the reason to keep a record, or None."""
    words, rules = Reasons(kind, policy), list[_Rule]()
    moment, group, order = _getter(kind.time_field), _getter(kind.group_field), attrgetter(*kind.order_fields)
    since = policy.within(now)
    if since is not None:
        rules.append(lambda record: words.within if moment(record) >= since else None)
    for most, field, reason in (
        (policy.keep_last, group, words.last),
        (policy.keep_last_of_user, _getter("user_id"), words.of_user),
    ):
        if most is not None:
            rules.append(_not_among(_beyond(records, field, order, most), reason))
    if policy.periods:
        sessions = [sorted(members, key=order, reverse=True) for members in _grouped(records, group).values()]
        for period, number in policy.periods.items():
            rules.append(_newest_of_its_period(_newest(sessions, _started(_STARTS[period], moment), number)))
    if policy.keep_tags and kind.tag_field:
        rules.append(_tagged(policy.keep_tags, words))
    return rules


def _not_among(others: set[int], reason: str) -> _Rule:
    return lambda record: None if id(record) in others else reason


def _newest_of_its_period(newest: dict[int, str]) -> _Rule:
    return lambda record: newest.get(id(record))


def _tagged(wanted: Sequence[str], words: Reasons) -> _Rule:
    def rule(record: Any) -> str | None:
        return next((words.of_tag(tag) for tag in wanted if tag in tags_of(record)), None)

    return rule


def _grouped(records: Iterable[R], group: _Get) -> dict[str, list[R]]:
    groups: dict[str, list[R]] = {}
    for name, members in groupby(records, group):  # most records of a session are adjacent
        groups.setdefault(name, []).extend(members)
    return groups


def _beyond(records: Iterable[R], group: _Get, order: _Get, most: int) -> set[int]:
    """Return the `id()` of each record that is not among the newest `most` records of its group."""
    large = (members for members in _grouped(records, group).values() if len(members) > most)
    return {id(record) for members in large for record in sorted(members, key=order, reverse=True)[most:]}


def _started(start: Callable[[datetime], str], moment: _Get) -> Callable[[Any], str]:
    return lambda record: start(moment(record))


def _newest(sessions: Iterable[list[R]], start: Callable[[R], str], number: int) -> dict[int, str]:
    """Return the reasons to keep the newest record of each of the last `number` periods, by the record's `id()`.

    Each session must be sorted, the newest record first. Periods without records do not count.
    """
    reasons: dict[int, str] = {}
    for session in sessions:
        periods: set[str] = set()
        for record in session:
            period = start(record)
            if period not in periods and len(periods) < number:
                periods.add(period)
                reasons[id(record)] = Reasons.of_period(period)
    return reasons


def _week(moment: datetime) -> str:
    year, week, _ = moment.isocalendar()
    return f"{year:04}-W{week:02}"


def _getter(name: str | None) -> _Get:
    return attrgetter(name or "")


_STARTS: dict[str, Callable[[datetime], str]] = {
    DAILY: lambda moment: moment.date().isoformat(),
    WEEKLY: _week,
    MONTHLY: lambda moment: moment.date().isoformat()[:7],
}
