"""How many requests read and save records, by hour and client: counted in memory, and saved now and then."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import F

from orbsite.models.statistics import HourlyUse

OTHERS = "other clients"
MOST_CLIENTS = 50
"""The number of clients that an hour has rows for; further clients share one row."""
KEPT = timedelta(days=14)
"""How long the rows are kept."""


class UsageCounter:
    """Counts requests in this process. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[datetime, str, str]] = Counter()

    def count(self, client: str, *, saves: bool, now: datetime) -> None:
        """Count a request of a client."""
        hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        with self._lock:
            known = {name for one, name, _ in self._counts if one == hour}
            name = client if client in known or len(known) < MOST_CLIENTS else OTHERS
            self._counts[hour, name, "saves" if saves else "reads"] += 1

    def take(self) -> Counter[tuple[datetime, str, str]]:
        """Return the counts by hour, client and field since the last call, and forget them."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return counts

    def put_back(self, counts: Counter[tuple[datetime, str, str]]) -> None:
        """Count again what could not be saved."""
        with self._lock:
            self._counts.update(counts)


def save(counter: UsageCounter) -> None:
    """Add the counts of a process to the table. Where the database refuses them, they are kept for the next time."""
    counts = counter.take()
    try:
        with transaction.atomic():
            for (hour, client, field), number in counts.items():
                _add(hour, client, field, number)
    except BaseException:
        counter.put_back(counts)
        raise


def forget_use(now: datetime) -> int:
    """Delete the rows of hours that are no longer shown, and return their number."""
    return HourlyUse.objects.filter(hour__lt=now - KEPT).delete()[0]


def _add(hour: datetime, client: str, field: str, number: int) -> None:
    rows = HourlyUse.objects.filter(hour=hour)
    if not rows.filter(client=client).exists() and rows.count() >= MOST_CLIENTS:
        client = OTHERS
    HourlyUse.objects.get_or_create(hour=hour, client=client)
    rows.filter(client=client).update(**{field: F(field) + number})
