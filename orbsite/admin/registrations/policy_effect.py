"""What a policy does: in sentences, as its next due moments, and as the numbers that it would keep and remove now."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from orbsite.admin.registrations.policy_form import EXPLAINED, PolicyForm, in_words
from orbsite.admin.registrations.policy_plot import PolicyPlot, policy_plot
from orbsite.models.retention import RetentionPolicy
from orbsite.operations.retention.effect import Effect, effect
from orbsite.storage.errors import InvalidPolicy, OrbError, TooMuch
from orbsite.storage.retention.schedule import Schedule
from orbsite.stores import store_named

MOST_COUNTED = 200_000
"""The maximum number of records in a store for which the form tells what a policy would remove."""


@dataclass(frozen=True, slots=True)
class PolicyEffect:
    """What the policy of a form does."""

    text: str
    due: list[str] = field(default_factory=list)
    """The next due moments, in the time zone of the schedule."""
    plot: PolicyPlot | None = None


def effect_of_form(form: PolicyForm, now: datetime, *, counts: bool) -> PolicyEffect:
    """Return what the policy of a sent form does, or what is wrong with it; the numbers only with `counts`."""
    wrong = next((str(text) for name in EXPLAINED for text in form.errors.get(name, ())), None)
    if wrong is not None:
        return PolicyEffect(wrong)
    policy: RetentionPolicy = form.instance
    policy.next_due = form.next_due(now)
    told, due = in_words(policy), due_in_words(policy, now)
    if not counts:
        return PolicyEffect(told, due)
    try:
        numbers, plot = _numbers(policy, now)
    except OrbError as problem:
        return PolicyEffect(f"{told} {problem}", due)
    return PolicyEffect(f"{told} {numbers}", due, plot)


def effect_in_words(policy: RetentionPolicy, now: datetime) -> PolicyEffect:
    """Return what a saved policy does, without looking at records."""
    return PolicyEffect(in_words(policy), due_in_words(policy, now))


def _numbers(policy: RetentionPolicy, now: datetime) -> tuple[str, PolicyPlot | None]:
    store = store_named(policy.store, policy.domain)
    if sum(map(store.count, policy.kinds)) > MOST_COUNTED:
        return "There are too many records to count here: save the policy, and start its preview.", None
    found = effect(store, policy.policy, now=lambda: now, force=policy.force)
    told = f"Today it would remove {found.removed:,} of {found.total:,} records."
    return " ".join([told, *_warnings(found)]), policy_plot(found, now.date())


def _warnings(found: Effect) -> list[str]:
    """Return why a run would remove nothing, with what to do."""
    return [
        "This is more than a fifth: a run removes nothing until you tick “Force”."
        if isinstance(guard, TooMuch)
        else f"A run removes nothing now: {guard}."
        for guard in found.guards
    ]


def due_moments(policy: RetentionPolicy, now: datetime, number: int = 3) -> list[datetime]:
    """Return the next moments at which an enabled policy is due, of which the first may be over already.

    Raises InvalidPolicy for a time zone that this machine does not have.
    """
    if not policy.enabled:
        return []
    first, schedule = policy.next_due or now, policy.schedule
    moments = [first, schedule.coalesced(first, now)[1]]
    while len(moments) < number:
        moments.append(schedule.next_after(moments[-1]))
    return moments


def due_in_words(policy: RetentionPolicy, now: datetime) -> list[str]:
    """Return the next due moments as texts in the time zone of the schedule, with what is special about each."""
    try:
        return [_told(policy.schedule, moment) for moment in due_moments(policy, now)]
    except InvalidPolicy as problem:
        return [str(problem)]


def _told(schedule: Schedule, moment: datetime) -> str:
    note = schedule.note(moment)
    return f"{moment.astimezone(schedule.zone):%A, %Y-%m-%d %H:%M %Z}{note and f' ({note})'}"
