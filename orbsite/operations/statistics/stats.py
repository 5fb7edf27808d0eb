"""Counts what the stores hold: how much, since when, how it grows, and what was last done to it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Q

from orbsite.models.ledger import Reject, Run
from orbsite.models.statistics import Growth
from orbsite.operations.report import Report
from orbsite.storage.base.store import Store
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.file.last_runs import Facts
from orbsite.storage.file.store import FileStore
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import is_ordered_by_time
from orbsite.storage.sql.store import SqlStore
from orbsite.storage.statistics.counts import statistics_of

logger = logging.getLogger(__name__)

MOST = 20
"""How many values of each tally are told."""
DAYS = 14
COMPACT = "compact"
_LAST = {
    "last_migration": Q(operation__in=(Run.Operation.MIGRATE, Run.Operation.IMPORT)),
    "last_verification": Q(operation=Run.Operation.VERIFY),
    "last_compaction": Q(operation=Run.Operation.COMPACT),
}


def stats(stores: list[Store], *, now: Callable[[], datetime]) -> Report:
    """Return, per domain, how many records, users and the like there are, their bytes, and their history."""
    report = Report()
    for store in stores:
        section = report.section(store.domain.name, ())
        section.facts = counts(store)
        section.details = details(store, now) | history(store)
    return report


def measure(store: Store, now: Callable[[], datetime]) -> dict[str, Any]:
    """Return all of it by name; of a store that is not in SQL, without what a database would have to tell."""
    in_sql = isinstance(store, SqlStore)
    return counts(store) | details(store, now) | (history(store) if in_sql else _history(store, {}, []))


def counts(store: Store) -> dict[str, int]:
    """Return the counts of one store by name, its size in bytes, and how many items are invalid."""
    domain = store.domain
    found = {name: store.count(kind, distinct) for name, (kind, distinct) in domain.facets.items()}
    found |= {kind.plural: store.count(kind) for kind in domain.kinds}
    return found | {"size": store.size(), "invalid": _invalid(store)}


def details(store: Store, now: Callable[[], datetime]) -> dict[str, Any]:
    """Return what is oldest and newest, how many records each of the last days has, and the largest groups."""
    told = statistics_of(store)
    taken: dict[str, Any] = {}
    kind = store.domain.kinds[0]
    if is_ordered_by_time(kind):
        span = told.span(kind)
        taken = {"oldest": span and spell(span[0]), "newest": span and spell(span[1])}
        today = now().astimezone(UTC).date()
        days = told.per_day(kind, [today - timedelta(days=back) for back in range(DAYS)])
        taken["per_day"] = {day.isoformat(): number for day, number in days.items()}
    return taken | {name: dict(told.tally(*of, MOST)) for name, of in store.domain.tallies.items()}


def history(store: Store) -> dict[str, Any]:
    """Return what the ledger and the files know: when what was last done, and how the store has grown."""
    try:
        with transaction.atomic():
            return _history(store, _last_runs(store.domain), _growth(store))
    except DatabaseError as problem:
        if isinstance(store, SqlStore):
            raise
        logger.warning("the ledger cannot be read, so that it is left out: %s", type(problem).__name__)
        return _history(store, {}, [])


def store_name(store: Store) -> str:
    """Return what rows of growth call a store."""
    return "sql" if isinstance(store, SqlStore) else "file" if isinstance(store, FileStore) else "memory"


def _history(store: Store, last: dict[str, str], growth: list[dict[str, Any]]) -> dict[str, Any]:
    noted = Facts(store.base).read().get(store.domain.name, {}) if isinstance(store, FileStore) else {}
    told: dict[str, Any] = {name: last.get(name) for name in _LAST}
    if isinstance(store, FileStore):  # runs of the ledger compact SQL
        told["last_compaction"] = noted.get(COMPACT)
    return told | {"growth": growth}


def _last_runs(domain: Domain) -> dict[str, str]:
    found = {}
    for name, which in _LAST.items():
        runs = Run.objects.filter(which, state=Run.State.COMPLETE, counts__has_key=domain.name).order_by("-id")
        last = runs.values_list("finished_at", flat=True).first()
        if last is not None:
            found[name] = spell(last)
    return found


def _growth(store: Store) -> list[dict[str, Any]]:
    rows = Growth.objects.filter(domain=store.domain.name, store=store_name(store)).order_by("-day")[:DAYS]
    return [{"day": row.day.isoformat(), **row.counts, "size": row.size} for row in rows]


def _invalid(store: Store) -> int:
    """Return how many items are no records: of a file, or of SQL, with what a migration had to leave."""
    if isinstance(store, SqlStore):
        return Reject.objects.filter(domain=store.domain.name, settled_by=None).count() + store.refused()
    return store.refused() if isinstance(store, FileStore) else 0
