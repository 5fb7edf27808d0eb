"""Lists with full-text search, filters by user, group, tag and time, and facets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, reduce
from operator import or_
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from typing_extensions import override

from orbsite.admin.base.changelist import BoundedPaginator, QuickAdmin, QuickChangeList
from orbsite.admin.base.permissions import may
from orbsite.search.analyzer import words
from orbsite.search.backends import HasTag
from orbsite.search.indexer import SearchIndex, is_off
from orbsite.search.query import Phrase, Wanted, read
from orbsite.search.search import NEWEST, OFF, SearchResult, search
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.findings import printable
from orbsite.storage.records.domain import registered
from orbsite.storage.records.record import Record

COUNTED_ROWS = 1000
"""The number of newest rows in which facets are counted."""
MOST_FACETS = 20
USER, TAG, FROM, TO = "user_id", "tag", "from", "to"


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """The facts about a search that the list shows above its rows."""

    is_by_id: bool = False
    """Whether the rows were found by a complete id."""
    is_empty: bool = False
    """Whether the query has no word to search for."""
    in_texts: str = ""
    """The query string that searches the texts for the same phrase."""
    unknown: int = 0
    """The number of the newest rows that were searched without the index."""
    newest: int = NEWEST
    ended_at: datetime | None = None
    """When the index was last complete."""
    may_index: bool = False
    """Whether the user may start the indexing."""


class SearchPaginator(BoundedPaginator):
    """Counts the rows of a search by the search itself, where there is one."""

    result: SearchResult | None = None

    @override
    def bounded(self, most: int) -> int:
        return super().bounded(most) if self.result is None else self.result.count(most)


class SearchedList(QuickChangeList):
    """A change list with the data that the search form and the facets need."""

    @property
    def others(self) -> list[tuple[str, Any]]:
        """The query parameters that the search form has no field for."""
        own = {spec.parameter_name for spec in self.filter_specs if isinstance(spec, TypedFilter)} | {SEARCH_VAR}
        return [(name, value) for name, value in self.params.items() if name not in own]

    @cached_property
    def newest(self) -> list[tuple[str, Any]]:
        """The group and the tags of the newest rows, at most one row more than `COUNTED_ROWS`."""
        kind: type[Record] = self.model.kind  # type: ignore[attr-defined]  # a table of records
        rows = self.queryset.order_by(*(f"-{name}" for name in kind.order_fields))
        return list(rows.values_list(kind.group_field, kind.tag_field)[: COUNTED_ROWS + 1])


class TypedFilter(admin.SimpleListFilter):
    """A filter whose value the user types; the sidebar shows the most frequent values as facets."""

    template = "console/facets.html"
    is_given, input_type = True, "text"

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.kind: type[Record] = model.kind
        self._is_within = any(request.GET.get(name) for name in (USER, self.kind.group_field or USER))

    def has_output(self) -> bool:
        """Return True, because the filter is shown even when it has no choices."""
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[Any]:
        """Return no choices, because there may be any number of values."""
        return []

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the facets if the list is filtered by a user or a group, and not by this filter."""
        if self.value() or not self._is_within:
            return
        for value, number in self.frequent(changelist):
            query = changelist.get_query_string({self.parameter_name: value}, ["p"])
            yield {"selected": False, "query_string": query, "display": value, "number": number}

    def frequent(self, changelist: Any) -> list[tuple[str, str]]:
        """Return the most frequent values with the number of rows that have each."""
        return []


class OfUser(TypedFilter):
    """Filters the rows by user."""

    title = "user"
    parameter_name = USER

    @override
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(user_id=self.value()) if self.value() else queryset


class OfTag(TypedFilter):
    """Filters the rows by tag."""

    title = "tag"
    parameter_name = TAG

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows with the tag; in a list of all users, the search index finds them by the tag's words."""
        tag = self.value()
        if not tag:
            return queryset
        has_it = Q(HasTag(str(self.kind.tag_field), tag))
        if self._is_within or is_off(self.kind):
            return queryset.filter(has_it)
        tag_words = tuple(words(tag))
        if not tag_words:
            messages.warning(
                request,
                "The search index cannot find this tag, because it has no letters. Filter by user or session too.",
            )
        wanted = Wanted((Phrase(tag_words),) if tag_words else ())
        return queryset.filter(has_it, search(queryset, wanted).complete())

    def frequent(self, changelist: Any) -> list[tuple[str, str]]:
        """Return the most frequent tags of the newest rows."""
        lists = (tags for _, tags in changelist.newest if isinstance(tags, list))
        tags = (printable(tag) for row_tags in lists for tag in row_tags if isinstance(tag, str))
        return _most(changelist, tags)


class OfGroup(TypedFilter):
    """Filters the rows by group, such as a session."""

    @override
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset

    def frequent(self, changelist: Any) -> list[tuple[str, str]]:
        """Return the most frequent groups of the newest rows."""
        return _most(changelist, (printable(group) for group, _ in changelist.newest))


class OfDay(TypedFilter):
    """Filters the rows by a day, in UTC."""

    input_type = "date"
    condition: ClassVar[str]
    later: ClassVar[timedelta] = timedelta()
    """The time from the start of the day to the bound."""

    @override
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        try:
            day = date.fromisoformat(str(self.value()))
        except ValueError:
            advice = "Enter it as YYYY-MM-DD, such as 2026-01-31."
            messages.error(request, f"The date in “{self.title}” is not valid. {advice}")
            return queryset.none()
        moment = datetime.combine(day, time(), UTC)
        if self.later > datetime.max.replace(tzinfo=UTC) - moment:
            return queryset
        return queryset.filter(**{f"{self.kind.time_field}__{self.condition}": moment + self.later})


class Since(OfDay):
    """Filters the rows from the start of a day."""

    title, parameter_name, condition = "from", FROM, "gte"


class Until(OfDay):
    """Filters the rows up to and including a day."""

    title, parameter_name, condition, later = "to", TO, "lt", timedelta(days=1)


def of_group(field: str, name: str) -> type[TypedFilter]:
    """Return a filter class for the field that groups records; `name` is its title."""
    return type("OfItsGroup", (OfGroup,), {"title": name, "parameter_name": field})


class SearchedAdmin(QuickAdmin):
    """A change list with full-text search."""

    change_list_template = "console/searched_list.html"
    paginator = SearchPaginator

    @override
    def get_changelist(self, request: HttpRequest, **options: Any) -> Any:
        return SearchedList

    @override
    def get_paginator(self, request: HttpRequest, *arguments: Any, **options: Any) -> Any:
        paginator: Any = super().get_paginator(request, *arguments, **options)
        paginator.result = getattr(request, "search_result", None)
        return paginator

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Allow the lookups that the search form has fields for."""
        typed = {
            entry.parameter_name
            for entry in self.list_filter
            if isinstance(entry, type) and issubclass(entry, TypedFilter)
        }
        return lookup in typed or super().lookup_allowed(lookup, value, request)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Find rows by a complete id or, if no row has that id, by the words of their texts."""
        text = request.GET.get(SEARCH_VAR, "")
        if not text:
            return queryset, False
        # one query per column, because a planner may scan the whole table for one query over all columns
        conditions = [] if UNCLEAN.search(text) else [Q(**{name: text}) for name in self.search_fields]
        by_id = [condition for condition in conditions if queryset.filter(condition).exists()]
        summary = SearchSummary(is_by_id=True, in_texts=urlencode({SEARCH_VAR: f'"{text.replace(chr(34), " ")}"'}))
        condition = reduce(or_, by_id, Q())
        if not by_id and is_off(self.model.kind):
            messages.warning(request, f"The search is off: {OFF}.")
            return queryset.none(), False
        if not by_id:
            wanted = read(text)
            matches = search(queryset, wanted)
            domain = next(domain for domain in registered() if self.model.kind in domain.kinds)
            summary = SearchSummary(
                is_empty=wanted.is_empty,
                unknown=matches.unknown,
                ended_at=SearchIndex(domain, self.model.kind).position().ended_at,
                may_index=may(request.user, "index"),
            )
            condition = matches.condition
            request.search_result = matches  # type: ignore[attr-defined]  # for the paginator
        request.search_summary = summary  # type: ignore[attr-defined]  # for the template
        return queryset.filter(condition), False


def _most(changelist: Any, values: Iterator[str]) -> list[tuple[str, str]]:
    """Return the most frequent values with their counts; a plus says that not all rows were counted."""
    more = "+" if len(changelist.newest) > COUNTED_ROWS else ""
    return [(value, f"{number}{more}") for value, number in Counter(values).most_common(MOST_FACETS)]
