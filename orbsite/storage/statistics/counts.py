"""What statistics ask of a store: SQL answers from its indexes, memory and files from one walk."""

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

from orbsite.storage.base.store import Store
from orbsite.storage.findings import printable
from orbsite.storage.records.record import Record, tags_of
from orbsite.storage.sql.filters import can_be_stored
from orbsite.storage.sql.raw_columns import IsPlainInstant, be_lenient
from orbsite.storage.sql.retention.dialects import text_list
from orbsite.storage.sql.store import SqlStore


@dataclass(frozen=True, slots=True)
class Stack:
    """How many records each of some days has, by the first tag of each: a number per day everywhere."""

    days: list[date]
    by_tag: dict[str, list[int]]
    """The most frequent tags, the most frequent first."""
    other: list[int]
    """Of all tags that are not among these."""
    untagged: list[int]


class Statistics(ABC):
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

    @abstractmethod
    def stack(self, kind: type[Record], days: Sequence[date], most: int) -> Stack:
        """Return how many records are of each of these UTC days, which follow each other, by their first tags.

        At most so many tags are told by name: those that most of these records have first, equal ones by code point.
        """

    @abstractmethod
    def before(self, kind: type[Record], moments: Sequence[datetime]) -> list[int]:
        """Return how many records are older than each of these moments."""


def statistics_of(store: Store) -> Statistics:
    """Return who counts what a store holds."""
    return SqlStatistics(store) if isinstance(store, SqlStore) else ScanStatistics(store)


class ScanStatistics(Statistics):
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
            found.update([value] if isinstance(value, str) else set(tags_of(one)))
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))[:most]

    def stack(self, kind: type[Record], days: Sequence[date], most: int) -> Stack:
        """Count by day and first tag."""
        known = set(days)
        found: Counter[tuple[date, str | None]] = Counter()
        for one in self._records(kind):
            day = getattr(one, str(kind.time_field)).date()
            if day in known:
                found[day, next(iter(tags_of(one)), None)] += 1
        per_tag: Counter[str] = Counter()
        for (_, tag), number in found.items():
            if tag is not None:
                per_tag[tag] += number
        shown = [tag for tag, _ in sorted(per_tag.items(), key=lambda item: (-item[1], item[0]))[:most]]
        return _stacked(days, shown, [(day, tag, tag is None, number) for (day, tag), number in found.items()])

    def before(self, kind: type[Record], moments: Sequence[datetime]) -> list[int]:
        """Count by age."""
        times = [getattr(one, str(kind.time_field)) for one in self._records(kind)]
        return [sum(time < moment for time in times) for moment in moments]

    def _records(self, kind: type[Record]) -> list[Record]:
        if kind not in self._kept:
            self._kept[kind] = list(self._store.walk(kind))
        return self._kept[kind]


class FirstText(Func):
    """The first item of a list; nothing where a column holds no list, or no JSON."""

    arity = 1
    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Look into what is a list alone, for SQLite refuses to look into anything else."""
        column, parameters = compiler.compile(self.source_expressions[0])
        return f"json_extract({text_list(column)}, '$[0]')", [*parameters]

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        """Ask for it."""
        return self.as_sql(compiler, connection, template="(%(expressions)s ->> 0)")


class SqlStatistics(Statistics):
    """Has the database count."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        be_lenient(connections[store.using])

    def span(self, kind: type[Record]) -> tuple[datetime, datetime] | None:
        """Return the ends of the index by time."""
        name = str(kind.time_field)
        times = self._rows(kind).filter(IsPlainInstant(F(name))).values_list(name, flat=True)
        first, last = times.order_by(name).first(), times.order_by(f"-{name}").first()
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
        return [(printable(value), number) for value, number in groups[:most]]

    def stack(self, kind: type[Record], days: Sequence[date], most: int) -> Stack:
        """Count groups of the days' range of the index by time, few of them however many tags there are."""
        begin = datetime.combine(days[0], time.min, UTC)
        end = datetime.combine(days[-1], time.min, UTC) + timedelta(days=1)
        rows = self._rows(kind).filter(IsPlainInstant(F(str(kind.time_field))))
        rows = rows.filter(**{f"{kind.time_field}__gte": begin, f"{kind.time_field}__lt": end})
        rows = rows.annotate(which_day=TruncDate(str(kind.time_field), tzinfo=UTC), first=self._first_tag(kind))
        tags = rows.filter(first__isnull=False).values_list("first").annotate(number=Count("*"))
        shown = [tag for tag, _ in tags.order_by("-number", "first")[:most] if can_be_stored(tag)]
        named = Case(When(first__in=shown, then=F("first")), default=None, output_field=TextField())
        groups = rows.annotate(named=named, untagged=Case(When(first__isnull=True, then=Value(1)), default=Value(0)))
        told = groups.order_by().values_list("which_day", "named", "untagged").annotate(number=Count("*"))
        return _stacked(days, shown, [(day, tag, bool(bare), number) for day, tag, bare, number in told])

    def before(self, kind: type[Record], moments: Sequence[datetime]) -> list[int]:
        """Count all of them in one go."""
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


def _stacked(days: Sequence[date], shown: Sequence[str], told: Sequence[tuple[date, str | None, bool, int]]) -> Stack:
    """Return numbers by day, tag and whether there is none, as a stack."""
    places = {day: at for at, day in enumerate(days)}
    stack = Stack(list(days), {tag: [0] * len(days) for tag in shown}, [0] * len(days), [0] * len(days))
    for day, tag, is_untagged, number in told:
        named = stack.other if tag is None else stack.by_tag.get(tag, stack.other)
        (stack.untagged if is_untagged else named)[places[day]] += number
    return stack
