"""The effect that a policy would have now: how many records of which days it would remove. Nothing is removed."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime

from orbsite.operations.report import Report
from orbsite.operations.retention.apply import enter_sessions, kinds_with_retention, last_run_at, removal_of
from orbsite.operations.retention.removal import SwitchedOffGuards
from orbsite.storage.base.store import Store
from orbsite.storage.errors import OrbError
from orbsite.storage.retention.policy import Policy


@dataclass(slots=True)
class Effect:
    """The numbers of records that a policy would keep and remove."""

    total: int = 0
    removed: int = 0
    days: Counter[date] = field(default_factory=Counter)
    """The number of all records by UTC day."""
    removed_days: Counter[date] = field(default_factory=Counter)
    """The number of records to remove by UTC day."""
    guards: list[OrbError] = field(default_factory=list)
    """Why a run would remove nothing as long as its guards are on: TooMuch and ClockJumped."""


def effect(store: Store, policy: Policy, *, now: Callable[[], datetime], force: bool = False) -> Effect:
    """Return the effect of a policy on a store. Raises InvalidPolicy."""
    moment, found = now(), Effect()
    with contextlib.ExitStack() as stack:
        enter_sessions(stack, [store])
        for kind in kinds_with_retention(store, policy):
            removal = removal_of(store, kind, policy, moment)
            stack.callback(removal.close)
            removal.section = Report().section(store.domain.name, ())
            removal.last_run_at = last_run_at(store)
            removal.find_records(exactly=True)
            found.total += removal.total
            found.removed += removal.number
            found.guards += [problem for problem, _ in removal.guard_errors(SwitchedOffGuards(force=force))]
            for days, numbers in zip((found.days, found.removed_days), removal.per_day(), strict=True):
                days.update(numbers)
    return found
