"""Counts for statistics: SQL stores count by their indexes, memory and file stores in one pass over all records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connections
from django.db.models import Case, Count, F, Func, Q, TextField, Value, When
from django.db.models.functions import Collate, TruncDate
from typing_extensions import override

from orbsite.storage.base.store import Store
from orbsite.storage.findings import printable
from orbsite.storage.records.record import Record, tags_of
from orbsite.storage.sql.filters import can_be_stored
from orbsite.storage.sql.raw_columns import IsPlainInstant, be_lenient
from orbsite.storage.sql.retention.dialects import text_list
from orbsite.storage.sql.store import SqlStore


@dataclass(frozen=True, slots=True)
class Stack:
    """The number of records on each of some days, by their first tags. Every list has one number for each day."""

    days: list[date]
    by_tag: dict[str, list[int]]
    """The numbers for the most frequent tags, the most frequent first."""
    other: list[int]
    """The numbers for all other tags."""
    untagged: list[int]


class Statistics(ABC):
    """Counts the records of a store. The time of a record is its kind's `time_field`."""

    @abstractmethod
    def span(self, kind: type[Record]) -> tuple[datetime, datetime] | None:
        """Return the times of the oldest and the newest record, None if there are no records."""

    @abstractmethod
    def per_day(self, kind: type[Record], days: Sequence[date]) -> dict[date, int]:
        """Return the number of records on each of these UTC days."""

    @abstractmethod
    def tally(self, kind: type[Record], field: str, most: int) -> list[tuple[str, int]]:
        """Return the most frequent values of a field, at most `most`, with their numbers of records.

        In a field with lists, each value counts once for a record. Equal numbers are sorted by value, by code point.
        """

    @abstractmethod
    def stack(self, kind: type[Record], days: Sequence[date], most: int) -> Stack:
        """Return the number of records on each of these consecutive UTC days, by their first tags.

        Only the `most` most frequent first tags are named. Equal numbers are sorted by tag, by code point.
        """

    @abstractmethod
    def before(self, kind: type[Record], moments: Sequence[datetime]) -> list[int]:
        """Return the number of records before each of these times."""


def statistics_of(store: Store) -> Statistics:
    """Return the statistics implementation for a store."""
    return SqlStatistics(store) if isinstance(store, SqlStore) else ScanStatistics(store)


class ScanStatistics(Statistics):
    """Counts the records of any store in one pass, and keeps them in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[type[Record], list[Record]] = {}

    @override
    def span(self, kind: type[Record]) -> tuple[datetime, datetime] | None:
        times = [getattr(record, str(kind.time_field)) for record in self._records(kind)]
        return (min(times), max(times)) if times else None

    @override
    def per_day(self, kind: type[Record], days: Sequence[date]) -> dict[date, int]:
        numbers = Counter(getattr(record, str(kind.time_field)).date() for record in self._records(kind))
        return {day: numbers[day] for day in days}

    @override
    def tally(self, kind: type[Record], field: str, most: int) -> list[tuple[str, int]]:
        numbers: Counter[str] = Counter()
        for record in self._records(kind):
            value = getattr(record, field)
            numbers.update([value] if isinstance(value, str) else set(tags_of(record)))
        return sorted(numbers.items(), key=lambda item: (-item[1], item[0]))[:most]

    @override
    def stack(self, kind: type[Record], days: Sequence[date], most: int) -> Stack:
        known = set(days)
        numbers: Counter[tuple[date, str | None]] = Counter()
        for record in self._records(kind):
            day = getattr(record, str(kind.time_field)).date()
            if day in known:
                numbers[day, next(iter(tags_of(record)), None)] += 1
        per_tag: Counter[str] = Counter()
        for (_, tag), number in numbers.items():
            if tag is not None:
                per_tag[tag] += number
        shown = [tag for tag, _ in sorted(per_tag.items(), key=lambda item: (-item[1], item[0]))[:most]]
        return _stacked(days, shown, [(day, tag, tag is None, number) for (day, tag), number in numbers.items()])

    @override
    def before(self, kind: type[Record], moments: Sequence[datetime]) -> list[int]:
        times = [getattr(record, str(kind.time_field)) for record in self._records(kind)]
        return [sum(time < moment for time in times) for moment in moments]

    def _records(self, kind: type[Record]) -> list[Record]:
        if kind not in self._kept:
            self._kept[kind] = list(self._store.walk(kind))
        return self._kept[kind]


class FirstText(Func):
    """The first item of a list in a JSON column; NULL if the column holds no list or no JSON."""

    arity = 1
    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the SQLite expression; it reads lists only, because SQLite raises for a text that is not JSON."""
        column, parameters = compiler.compile(self.source_expressions[0])
        return f"json_extract({text_list(column)}, '$[0]')", [*parameters]

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        """Return the PostgreSQL expression, which is NULL for values that are not lists."""
        return self.as_sql(compiler, connection, template="(%(expressions)s ->> 0)")


class SqlStatistics(Statistics):
    """Counts the records of an SQL store in the database."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        be_lenient(connections[store.using])

    @override
    def span(self, kind: type[Record]) -> tuple[datetime, datetime] | None:
        name = str(kind.time_field)
        times = self._rows(kind).filter(IsPlainInstant(F(name))).values_list(name, flat=True)
        first, last = times.order_by(name).first(), times.order_by(f"-{name}").first()
        return None if first is None or last is None else (first, last)

    @override
    def per_day(self, kind: type[Record], days: Sequence[date]) -> dict[date, int]:
        numbers = {}
        for day in days:  # one query for each day, which counts a range of the index by time
            begin = datetime.combine(day, time.min, UTC)
            within = {f"{kind.time_field}__gte": begin, f"{kind.time_field}__lt": begin + timedelta(days=1)}
            numbers[day] = self._rows(kind).filter(**within).count()
        return numbers

    @override
    def tally(self, kind: type[Record], field: str, most: int) -> list[tuple[str, int]]:
        if field == kind.tag_field:
            return self._tally_of_lists(kind, field, most)
        groups = self._rows(kind).values_list(field).annotate(number=Count("*")).order_by("-number", field)
        return [(printable(value), number) for value, number in groups[:most]]

    @override
    def stack(self, kind: type[Record], days: Sequence[date], most: int) -> Stack:
        begin = datetime.combine(days[0], time.min, UTC)
        end = datetime.combine(days[-1], time.min, UTC) + timedelta(days=1)
        rows = self._rows(kind).filter(IsPlainInstant(F(str(kind.time_field))))
        rows = rows.filter(**{f"{kind.time_field}__gte": begin, f"{kind.time_field}__lt": end})
        rows = rows.annotate(which_day=TruncDate(str(kind.time_field), tzinfo=UTC), first=self._first_tag(kind))
        tags = rows.filter(first__isnull=False).values_list("first").annotate(number=Count("*"))
        shown = [tag for tag, _ in tags.order_by("-number", "first")[:most] if can_be_stored(tag)]
        named = Case(When(first__in=shown, then=F("first")), default=None, output_field=TextField())
        groups = rows.annotate(named=named, untagged=Case(When(first__isnull=True, then=Value(1)), default=Value(0)))
        counts = groups.order_by().values_list("which_day", "named", "untagged").annotate(number=Count("*"))
        return _stacked(days, shown, [(day, tag, bool(bare), number) for day, tag, bare, number in counts])

    @override
    def before(self, kind: type[Record], moments: Sequence[datetime]) -> list[int]:
        wanted = {
            f"before_{at}": Count("pk", filter=Q(**{f"{kind.time_field}__lt": moment}))
            for at, moment in enumerate(moments)
        }
        return list(self._rows(kind).aggregate(**wanted).values())

    def _first_tag(self, kind: type[Record]) -> Any:
        if kind.tag_field is None:
            return Value(None, output_field=TextField())
        first = FirstText(F(kind.tag_field))
        return Collate(first, "C") if connections[self._store.using].vendor == "postgresql" else first

    def _tally_of_lists(self, kind: type[Record], field: str, most: int) -> list[tuple[str, int]]:
        connection = connections[self._store.using]
        quote = connection.ops.quote_name
        meta = self._store.domain.models[kind]._meta
        table, key, column = quote(meta.db_table), quote(meta.pk.column), quote(meta.get_field(field).column)
        if connection.vendor == "postgresql":
            values, value = f"jsonb_array_elements_text({table}.{column}) AS one(value)", 'one.value COLLATE "C"'
        else:
            values, value = f"json_each({text_list(f'{table}.{column}')}) AS one", "one.value"
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {value} AS what, COUNT(DISTINCT {table}.{key}) AS number FROM {table}, {values} "
                f"GROUP BY {value} ORDER BY number DESC, what LIMIT %s",
                [most],
            )
            return [(printable(value), number) for value, number in cursor.fetchall()]

    def _rows(self, kind: type[Record]) -> Any:
        return self._store.domain.models[kind]._base_manager.using(self._store.using)


def _stacked(days: Sequence[date], shown: Sequence[str], counts: Sequence[tuple[date, str | None, bool, int]]) -> Stack:
    """Return a stack of counts, each with its day, its tag, whether it is of untagged records, and the number."""
    places = {day: at for at, day in enumerate(days)}
    stack = Stack(list(days), {tag: [0] * len(days) for tag in shown}, [0] * len(days), [0] * len(days))
    for day, tag, is_untagged, number in counts:
        named = stack.other if tag is None else stack.by_tag.get(tag, stack.other)
        (stack.untagged if is_untagged else named)[places[day]] += number
    return stack
