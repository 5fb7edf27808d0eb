"""Finds records in SQL by their words, with the index and, for the newest rows, with the rows themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from typing_extensions import override

from orbsite.models.search_index import Words
from orbsite.search.analyzer import document
from orbsite.search.backends import by_text
from orbsite.search.index_query import IndexQuery
from orbsite.search.indexer import is_off, is_searched, name_field, place_of, texts_of
from orbsite.search.plan import MANY, SearchPlan
from orbsite.search.query import Wanted
from orbsite.storage.base.query import Query
from orbsite.storage.errors import SearchOff
from orbsite.storage.findings import Finding
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import R, Record, columns
from orbsite.storage.records.unreadable import Unread
from orbsite.storage.sql.filters import can_be_stored
from orbsite.storage.sql.keyset_pagination import decode, raw_pages
from orbsite.storage.sql.models import read_cells
from orbsite.storage.sql.raw_columns import raw_rows
from orbsite.storage.sql.store import SqlStore

NEWEST = 500
"""The number of the newest rows that are searched directly where their words are out of date."""
OFF = "texts are sealed, so that no index of their words is kept; filter by user, session, tag or time instead"
"""Why the search is off."""
_PAGE = 100
_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of a search of some rows."""

    rows: QuerySet[Any]
    condition: Q
    """The condition that the matching rows meet."""
    unknown: int = 0
    """The number of the newest rows whose words were out of date. They were searched directly."""
    _plan: SearchPlan | None = None
    _others: Sequence[Any] = ()
    """The primary keys of the matching rows among the unknown ones."""

    def count(self, most: int) -> int:
        """Return the number of matching rows, at most `most`."""
        if self._plan is None or not self._plan.counts_by_index:
            return int(self.rows.filter(self.condition).order_by()[:most].count())
        rows = self.rows.exclude(pk__in=self._others) if self._others else self.rows
        return min(most, len(self._others) + self._plan.index.count(rows, most))

    def complete(self) -> Q:
        """Return the condition in the form for queries that read all matching rows, such as the count of a filter."""
        if self._plan is None or self._plan.index.rows_of_rarest_word(MANY) == MANY:
            return self.condition
        return self._plan.index.condition(self._others)


def search(rows: QuerySet[Any], wanted: Wanted, user_id: str | None = None) -> SearchResult:
    """Return the condition for the rows of one table that match a query.

    `user_id` is the user to whom `rows` are limited, if they are; the words of other users are then not read.
    Deleted text is never found: words count only for a row with the same digest. A record that was saved after the last
    update of the index is found if it is among the newest rows. Raises SearchOff where texts are sealed.
    """
    kind = rows.model.kind
    if is_off(kind):
        raise SearchOff(OFF)
    if wanted.is_empty or not is_searched(kind):
        return SearchResult(rows, Q(pk__in=[]))
    known = Words.objects.using(rows.db).filter(kind=kind.plural)
    of_the_row = known.filter(user_id=OuterRef("user_id"), key=OuterRef(name_field(kind)), digest=OuterRef("digest"))
    # a scalar subquery runs per row; the planner may turn EXISTS into a join with all words
    holds = Subquery(of_the_row.values(holds=ExpressionWrapper(by_text(wanted), BooleanField())))
    newest = rows.order_by(*(f"-{name}" for name in kind.order_fields)).values_list("pk", holds)[:NEWEST]
    answers = dict(newest)
    owned = {} if user_id is None else {"user_id": user_id}
    unknown = _rows_of(rows, kind, [pk for pk, held in answers.items() if held is None], owned)
    searched = {values["pk"]: wanted.matches(_document(kind, values)) for values in unknown}
    others = [pk for pk, matches in searched.items() if matches]
    index = IndexQuery(rows.model, wanted, rows.db, user_id)
    plan = SearchPlan(rows, index, [held is True for held in answers.values()])
    condition = index.condition(others) if plan.reads_index else Q(Coalesce(holds, Value(False))) | Q(pk__in=others)
    return SearchResult(rows, condition, len(searched), plan, others)


class Searched(SqlStore):
    """A store that finds only the records of a search. Its other methods are those of the wrapped store."""

    def __init__(
        self, domain: Domain, using: str, kind: type[Record], wanted: Wanted, where: Mapping[str, str]
    ) -> None:
        super().__init__(domain, using)
        self._condition = Q(pk__in=[])
        if all(map(can_be_stored, where.values())):
            self._condition = search(self._rows(kind).filter(**where), wanted, where.get("user_id")).condition

    @override
    def select(self, kind: type[R], query: Query, findings: list[Finding] | None = None) -> list[R]:
        if not all(map(can_be_stored, query.where.values())):
            return []
        rows = self._rows(kind).filter(self._condition, **query.where)
        if query.since:
            rows = rows.filter(**{f"{kind.time_field}__gte": query.since})
        if query.until:
            rows = rows.filter(**{f"{kind.time_field}__lt": query.until})
        limits: dict[str, Any] = {"oldest_first": query.oldest_first, "max_bytes": query.max_bytes}
        pages = raw_pages(rows, kind.order_fields, columns(kind), _PAGE, after=query.after, **limits)
        with Unread(findings) as unread:
            decoded = (
                decode(rows.model, [tuple(cells.values()) for cells in page], unread, self.using) for page in pages
            )
            found = filter(query.matches_time, chain.from_iterable(decoded))
            return list(query.cut(filter(query.matches_content, found)))

    @override
    def printed(self, kind: type[Record], query: Query) -> None:
        """Return None: the condition of a search differs each time, and is in no compiled query."""


def _rows_of(
    rows: QuerySet[Any], kind: type[Record], keys: list[Any], owned: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield the columns of the rows with some primary keys, few at a time because any row may be large.

    A row whose key no store could have written has no words, and is left out.
    """
    everything = rows.model._base_manager.using(rows.db).filter(**owned)
    names = ("pk", *columns(kind))
    for start in range(0, len(keys), _AT_A_TIME):
        part = raw_rows(everything.filter(pk__in=keys[start : start + _AT_A_TIME]), names)
        found = (dict(zip(names, cells, strict=True)) for cells in part.iterator(1))
        yield from (values for values in found if all(map(can_be_stored, place_of(kind, values))))


def _document(kind: type[Record], values: dict[str, Any]) -> str:
    record = read_cells(kind, values).record
    return "" if record is None else document(texts_of(record))
