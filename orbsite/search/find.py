"""Finds records by their words, in SQL: what the index tells, as far as it is true, and what it does not know yet."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from orbsite.search.engine import by_index, by_text
from orbsite.search.fold import document
from orbsite.search.index import is_searched, key_of, texts_of
from orbsite.search.query import Wanted
from orbsite.storage.conditions import beyond, can_be_stored
from orbsite.storage.finding import Finding
from orbsite.storage.query import Query
from orbsite.storage.raw_columns import RawValue, raw_rows
from orbsite.storage.record import R, Record, columns
from orbsite.storage.rows import column_of, read_cells
from orbsite.storage.sql import SqlStore, read_or_tell
from orbsite.storage.unread import Unread
from orbsite.words import Words

NEWEST = 500
"""How many of the newest rows are looked at themselves, where the index does not know them as they are."""
FEW = 10_000
"""Up to how many hits the index is followed; of more, each row that is shown is looked at instead, newest first."""
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to."""

    condition: Q
    """Which rows have what is wanted."""
    unknown: int = 0
    """How many of the newest rows the index did not know as they are; they were searched all the same."""


def search(rows: QuerySet[Any], wanted: Wanted) -> Found:
    """Return the condition for those of some rows of one table that have what is wanted.

    Text that is not there any more is never found: the words count only for the digest of the row. What was saved since
    the index was caught up is found where it is among the newest of the rows.
    """
    kind = rows.model.kind
    if wanted.is_empty or not is_searched(kind):
        return Found(Q(pk__in=[]))
    fresh = _unknown(rows, kind)
    hits = [key_of(kind, values) for values in fresh if wanted.matches(_document(kind, values))]
    known = Words.objects.using(rows.db).filter(kind=kind.plural)
    keys = list(known.filter(by_index(wanted)).values_list("key", flat=True)[: FEW + 1])
    # a scalar, which is looked up row by row: a planner may turn EXISTS into a join with all the words there are
    of_the_row = known.filter(key=OuterRef(kind.key_fields[0]), digest=OuterRef("digest"))
    if len(keys) > FEW:
        return Found(Q(_is_so(of_the_row, by_text(wanted))) | Q(pk__in=hits), unknown=len(fresh))
    still = Q(_is_so(of_the_row, Value(True)))
    return Found(Q(pk__in={*keys, *hits}) & (still | Q(pk__in=hits) if hits else still), unknown=len(fresh))


def _is_so(words: QuerySet[Words], condition: Any) -> Any:
    """Return the condition that there is such a row of words, and what holds for it."""
    told = words.values(told=ExpressionWrapper(condition, BooleanField()))
    return Coalesce(Subquery(told), Value(False))


class Searched(SqlStore):
    """A store in which only what a search finds is found; everything else about it is as it was."""

    def __init__(self, store: SqlStore, kind: type[Record], wanted: Wanted, where: Mapping[str, str]) -> None:
        super().__init__(store.domain, store.using)
        there = self._rows(kind).filter(**where) if all(map(can_be_stored, where.values())) else None
        self._condition = Q(pk__in=[]) if there is None else search(there, wanted).condition

    def select(self, kind: type[R], query: Query, findings: list[Finding] | None = None) -> list[R]:
        """Return what `find` does, of what the search finds."""
        if not all(map(can_be_stored, query.where.values())):
            return []
        rows = self._rows(kind).filter(self._condition, **query.where)
        if query.since:
            rows = rows.filter(**{f"{kind.time_field}__gte": query.since})
        if query.until:
            rows = rows.filter(**{f"{kind.time_field}__lt": query.until})
        sign, direction = ("", "gt") if query.oldest_first else ("-", "lt")
        rows = rows.order_by(*(sign + name for name in kind.order_fields))
        with Unread(findings) as unread:
            found = self._pages(kind, rows, query.after, direction, unread)
            matching = (one for one in found if query.matches_time(one) and query.matches_content(one))
            return list(matching if query.limit is None else islice(matching, min(query.limit, sys.maxsize)))

    def _pages(
        self, kind: type[R], rows: QuerySet[Any], after: tuple[Any, ...] | None, direction: str, unread: Unread
    ) -> Iterator[R]:
        while True:
            rest = rows if after is None else rows.filter(beyond(kind.order_fields, after, direction))
            found = list(self._cells(kind, rest[:_PAGE]))
            yield from (record for cells in found if (record := read_or_tell(kind, cells, unread)) is not None)
            if len(found) < _PAGE:
                return
            after = tuple(RawValue(found[-1][name], column_of(rows.model, name)) for name in kind.order_fields)


def _unknown(rows: QuerySet[Any], kind: type[Record]) -> list[dict[str, Any]]:
    """Return the columns of those of the newest rows whose words are not known as they are."""
    newest = rows.order_by(*(f"-{name}" for name in kind.order_fields))
    found = raw_rows(newest, (kind.key_fields[0], "digest"))[:NEWEST]
    digests = {key: digest for key, digest in found if can_be_stored(key)}
    words = Words.objects.using(rows.db).filter(kind=kind.plural, key__in=list(digests))
    known: dict[str, str] = dict(words.values_list("key", "digest"))
    unknown = [key for key, digest in digests.items() if known.get(key) != digest]
    everything = rows.model._base_manager.using(rows.db)
    names = columns(kind)
    rows_of_them = raw_rows(everything.filter(pk__in=unknown), names) if unknown else []
    return [dict(zip(names, cells, strict=True)) for cells in rows_of_them]


def _document(kind: type[Record], values: dict[str, Any]) -> str:
    record = read_cells(kind, values).record
    return "" if record is None else document(texts_of(record))
