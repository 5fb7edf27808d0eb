"""What statistics ask of a store: SQL answers from its indexes, memory and files from one walk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connections
from django.db.models import Count

from orbsite.storage.record import Record
from orbsite.storage.sql import SqlStore
from orbsite.storage.store import Store


class Census(ABC):
    """Counts what a store holds. A kind's time is that by which its records are ordered."""

    @abstractmethod
    def span(self, kind: type[Record]) -> tuple[datetime, datetime] | None:
        """Return the times of the oldest and the newest record, None where there is none."""

    @abstractmethod
    def per_day(self, kind: type[Record], days: Sequence[date]) -> dict[date, int]:
        """Return how many records are of each of these UTC days."""

    @abstractmethod
    def tally(self, kind: type[Record], field: str, most: int) -> list[tuple[str, int]]:
        """Return the values that most records have, at most so many, and how many have each.

        Of a list, each value counts once. The most frequent come first, equal ones by code point.
        """


def census(store: Store) -> Census:
    """Return who counts what a store holds."""
    return Counted(store) if isinstance(store, SqlStore) else Walked(store)


class Walked(Census):
    """Counts records one by one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[type[Record], list[Record]] = {}

    def span(self, kind: type[Record]) -> tuple[datetime, datetime] | None:
        """Return the times of the oldest and the newest."""
        times = [getattr(one, str(kind.time_field)) for one in self._records(kind)]
        return (min(times), max(times)) if times else None

    def per_day(self, kind: type[Record], days: Sequence[date]) -> dict[date, int]:
        """Count by day."""
        found = Counter(getattr(one, str(kind.time_field)).date() for one in self._records(kind))
        return {day: found[day] for day in days}

    def tally(self, kind: type[Record], field: str, most: int) -> list[tuple[str, int]]:
        """Count by value."""
        found: Counter[str] = Counter()
        for one in self._records(kind):
            value = getattr(one, field)
            found.update([value] if isinstance(value, str) else set(value))
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))[:most]

    def _records(self, kind: type[Record]) -> list[Record]:
        if kind not in self._kept:
            self._kept[kind] = list(self._store.walk(kind))
        return self._kept[kind]


class Counted(Census):
    """Has the database count."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def span(self, kind: type[Record]) -> tuple[datetime, datetime] | None:
        """Return the ends of the index by time."""
        name = str(kind.time_field)
        first = self._rows(kind).order_by(name).values_list(name, flat=True).first()
        last = self._rows(kind).order_by(f"-{name}").values_list(name, flat=True).first()
        return None if first is None or last is None else (first, last)

    def per_day(self, kind: type[Record], days: Sequence[date]) -> dict[date, int]:
        """Count a range of the index by time for each day."""
        found = {}
        for day in days:
            begin = datetime.combine(day, time.min, UTC)
            within = {f"{kind.time_field}__gte": begin, f"{kind.time_field}__lt": begin + timedelta(days=1)}
            found[day] = self._rows(kind).filter(**within).count()
        return found

    def tally(self, kind: type[Record], field: str, most: int) -> list[tuple[str, int]]:
        """Count groups of an index, or, of a list, what is in it."""
        if field == kind.tag_field:
            return self._tally_of_lists(kind, field, most)
        groups = self._rows(kind).values_list(field).annotate(number=Count("*")).order_by("-number", field)
        return [(value, number) for value, number in groups[:most]]

    def _tally_of_lists(self, kind: type[Record], field: str, most: int) -> list[tuple[str, int]]:
        connection = connections[self._store.using]
        quote = connection.ops.quote_name
        meta = self._store.domain.models[kind]._meta
        table, key, column = quote(meta.db_table), quote(meta.pk.column), quote(meta.get_field(field).column)
        if connection.vendor == "postgresql":
            values, value = f"jsonb_array_elements_text({table}.{column}) AS one(value)", 'one.value COLLATE "C"'
        else:
            values, value = f"json_each({table}.{column}) AS one", "one.value"
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {value} AS what, COUNT(DISTINCT {table}.{key}) AS number FROM {table}, {values} "
                f"GROUP BY {value} ORDER BY number DESC, what LIMIT %s",
                [most],
            )
            return [(str(value), number) for value, number in cursor.fetchall()]

    def _rows(self, kind: type[Record]) -> Any:
        return self._store.domain.models[kind]._base_manager.using(self._store.using)
