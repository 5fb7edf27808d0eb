"""Saves statistics of each store once a day, for the growth charts and for the dashboard."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from orbsite.conf import app_settings
from orbsite.models.statistics import Growth
from orbsite.operations.progress import Progress, silent
from orbsite.operations.statistics.overview import overview
from orbsite.storage.base.store import Store
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import Domain, registered
from orbsite.stores import open_document, open_file_store, open_sql_store

logger = logging.getLogger(__name__)


def note_growth(
    now: Callable[[], datetime], domains: Iterable[Domain] | None = None, progress: Progress = silent
) -> int:
    """Save a row for each domain and each store in use, and return their number. The last one of a day counts.

    A store that cannot be read is logged, and the others get their rows.
    """
    moment = now()
    day = moment.astimezone(UTC).date()
    noted = 0
    for store in _stores(registered() if domains is None else domains):
        progress(1)
        try:
            found = overview(store, now)
        except OrbError as problem:
            logger.warning("no statistics were saved for %s in %s: %s", store.domain.name, store.name, problem)
            continue
        which: dict[str, Any] = {"domain": store.domain.name, "store": store.name}
        Growth.objects.update_or_create(day=day, **which, defaults={**found, "noted_at": moment})
        Growth.objects.filter(day__lt=day, details__isnull=False, **which).update(details=None)
        noted += 1
    return noted


def _stores(domains: Iterable[Domain]) -> Iterator[Store]:
    for domain in domains:
        yield open_sql_store(domain)
        if open_document(domain, app_settings.data_directory()).path.exists():
            yield open_file_store(domain)
