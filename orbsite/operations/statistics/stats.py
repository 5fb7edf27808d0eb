"""Statistics of stores: counts, sizes, first and last records, growth, and the last operations."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Q

from orbsite.models.ledger import Reject, Run, RunState
from orbsite.models.statistics import Growth
from orbsite.operations.report import Report
from orbsite.storage.base.store import Store
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.file.last_runs import Facts
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Record, is_ordered_by_time
from orbsite.storage.statistics.counts import Statistics, statistics_of

logger = logging.getLogger(__name__)

MOST = 20
"""The number of values that are listed of each tally."""
DAYS = 14
COMPACT = "compact"
_LAST = {
    "last_migration": Q(operation__in=(Run.Operation.MIGRATE, Run.Operation.IMPORT)),
    "last_verification": Q(operation=Run.Operation.VERIFY),
    "last_compaction": Q(operation=Run.Operation.COMPACT),
}


def stats(stores: list[Store], *, now: Callable[[], datetime]) -> Report:
    """Return, per domain, the counts of records, users and the like, the sizes in bytes, and the history."""
    report = Report()
    for store in stores:
        section = report.section(store.domain.name, ())
        section.facts = counts(store)
        section.details = details(store, now) | history(store)
    return report


def measure(store: Store, now: Callable[[], datetime]) -> dict[str, Any]:
    """Return all statistics of a store by name. For a store outside SQL, the database is not queried."""
    told = history(store) if store.database is not None else _history(store, {}, [])
    return counts(store) | details(store, now) | told


def counts(store: Store) -> dict[str, int]:
    """Return the counts of a store by name, its size in bytes, and its number of invalid items."""
    domain = store.domain
    found = {name: store.count(kind, distinct) for name, (kind, distinct) in domain.facets.items()}
    found |= {kind.plural: store.count(kind) for kind in domain.kinds}
    return found | {"size": store.size(), "invalid": _invalid(store)}


def details(store: Store, now: Callable[[], datetime]) -> dict[str, Any]:
    """Return the oldest and newest times, the number of records on each of the last days, and the largest groups."""
    statistics = statistics_of(store)
    taken: dict[str, Any] = {}
    kind = store.domain.kinds[0]
    if is_ordered_by_time(kind):
        taken = dict(zip(("oldest", "newest"), span_of(statistics, kind) or (None, None), strict=True))
        today = now().astimezone(UTC).date()
        days = statistics.per_day(kind, [today - timedelta(days=back) for back in range(DAYS)])
        taken["per_day"] = {day.isoformat(): number for day, number in days.items()}
    return taken | {name: dict(statistics.tally(*of, MOST)) for name, of in store.domain.tallies.items()}


def span_of(statistics: Statistics, kind: type[Record]) -> list[str] | None:
    """Return the oldest and the newest time; None without records, or for a kind without times."""
    span = statistics.span(kind) if kind.time_field else None
    return span and [spell(span[0]), spell(span[1])]


def history(store: Store) -> dict[str, Any]:
    """Return the times of the last operations and the growth of a store, from the ledger and the files."""
    try:
        with transaction.atomic():
            return _history(store, _last_runs(store.domain), _growth(store))
    except DatabaseError as problem:
        if store.database is not None:
            raise
        logger.warning("the ledger cannot be read and is left out: %s", type(problem).__name__)
        return _history(store, {}, [])


def _history(store: Store, last: dict[str, str], growth: list[dict[str, Any]]) -> dict[str, Any]:
    noted = {} if store.base is None else Facts(store.base).read().get(store.domain.name, {})
    times: dict[str, Any] = {name: last.get(name) for name in _LAST}
    if store.base is not None:  # runs in the ledger compact SQL only
        times["last_compaction"] = noted.get(COMPACT)
    return times | {"growth": growth}


def _last_runs(domain: Domain) -> dict[str, str]:
    found = {}
    for name, which in _LAST.items():
        runs = Run.objects.filter(which, state=RunState.COMPLETE, counts__has_key=domain.name).order_by("-id")
        last = runs.values_list("finished_at", flat=True).first()
        if last is not None:
            found[name] = spell(last)
    return found


def _growth(store: Store) -> list[dict[str, Any]]:
    rows = Growth.objects.filter(domain=store.domain.name, store=store.name).order_by("-day")[:DAYS]
    return [{"day": row.day.isoformat(), **row.counts, "size": row.size} for row in rows]


def _invalid(store: Store) -> int:
    """Return the number of items of a file, or of rows and open rejects in SQL, that are not valid records."""
    rejects = Reject.objects.filter(domain=store.domain.name, settled_by=None)
    return store.refused() + (rejects.count() if store.database is not None else 0)
