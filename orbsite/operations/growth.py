"""Writes down once a day how much there is, so that growth can be seen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from orbsite import conf
from orbsite.models import Growth
from orbsite.operations.stats import counts, store_name
from orbsite.storage.domain import registered
from orbsite.storage.errors import OrbError
from orbsite.storage.store import Store
from orbsite.stores import open_document, open_file_store, open_sql_store

logger = logging.getLogger(__name__)


def note_growth(now: Callable[[], datetime]) -> int:
    """Write a row for each domain and store that is in use, and return how many; the last of a day counts.

    A store that cannot be read is told in the log, and keeps no other from its row.
    """
    moment = now()
    noted = 0
    for store in _stores():
        try:
            found = counts(store)
        except OrbError as problem:
            logger.warning("no growth was noted for %s in %s: %s", store.domain.name, store_name(store), problem)
            continue
        Growth.objects.update_or_create(
            day=moment.astimezone(UTC).date(),
            domain=store.domain.name,
            store=store_name(store),
            defaults={"size": found.pop("size"), "counts": found, "noted_at": moment},
        )
        noted += 1
    return noted


def _stores() -> Iterator[Store]:
    for domain in registered():
        yield open_sql_store(domain)
        if open_document(domain, conf.data_directory()).path.exists():
            yield open_file_store(domain)
