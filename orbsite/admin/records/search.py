"""Lists that are searched by the words of their texts, and filtered by user, group, tag and time; with facets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, reduce
from operator import or_
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from orbsite.admin.base.changelist import QuickAdmin, QuickChangeList
from orbsite.admin.base.permissions import may
from orbsite.search.analyzer import words
from orbsite.search.backends import HasTag
from orbsite.search.indexer import SearchIndex
from orbsite.search.query import Phrase, Wanted, read
from orbsite.search.search import NEWEST, search
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.findings import printable
from orbsite.storage.records.domain import registered
from orbsite.storage.records.record import Record

LOOKED_AT = 1000
"""How many of the newest rows facets are counted in."""
MOST_FACETS = 20
USER, TAG, FROM, TO = "user_id", "tag", "from", "to"


@dataclass(frozen=True, slots=True)
class Told:
    """What a list says of the search that it shows."""

    is_by_id: bool = False
    """Whether the rows were found by a whole id."""
    is_empty: bool = False
    """Whether there was no word to look for."""
    in_texts: str = ""
    """The query that looks for the same in the texts."""
    unknown: int = 0
    newest: int = NEWEST
    ended_at: datetime | None = None
    may_index: bool = False


class SearchedList(QuickChangeList):
    """A list, and what a search and its facets have to know of it."""

    @property
    def others(self) -> list[tuple[str, Any]]:
        """The conditions that the form of the search has no fields for."""
        own = {one.parameter_name for one in self.filter_specs if isinstance(one, Given)} | {SEARCH_VAR}
        return [(name, value) for name, value in self.params.items() if name not in own]

    @cached_property
    def newest(self) -> list[tuple[str, Any]]:
        """Group and tags of the newest rows: one more than are counted in."""
        kind: type[Record] = self.model.kind  # type: ignore[attr-defined]  # a table of records
        rows = self.queryset.order_by(*(f"-{name}" for name in kind.order_fields))
        return list(rows.values_list(kind.group_field, kind.tag_field)[: LOOKED_AT + 1])


class Given(admin.SimpleListFilter):
    """A condition that somebody types in; beside the list stand only the values that are frequent in it."""

    template = "console/facets.html"
    is_given, input_type = True, "text"

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.kind: type[Record] = model.kind
        self._is_within = any(request.GET.get(name) for name in (USER, self.kind.group_field or USER))

    def has_output(self) -> bool:
        """Hold always."""
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[Any]:
        """Offer nothing to choose from: there may be any number of values."""
        return []

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Return the frequent values, where the list is within a user or a group."""
        if self.value() or not self._is_within:
            return
        for value, number in self.frequent(changelist):
            query = changelist.get_query_string({self.parameter_name: value}, ["p"])
            yield {"selected": False, "query_string": query, "display": value, "number": number}

    def frequent(self, changelist: Any) -> list[tuple[str, str]]:
        """Return the most frequent values, and how many rows have each."""
        return []


class OfUser(Given):
    """The rows of one user."""

    title = "user"
    parameter_name = USER

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return them."""
        return queryset.filter(user_id=self.value()) if self.value() else queryset


class OfTag(Given):
    """The rows with one tag."""

    title = "tag"
    parameter_name = TAG

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return them: within a user or a group by looking at each, among all by the words of the tag."""
        tag = self.value()
        if not tag:
            return queryset
        has_it = Q(HasTag(str(self.kind.tag_field), tag))
        if self._is_within:
            return queryset.filter(has_it)
        found = tuple(words(tag))
        if not found:
            messages.warning(request, "This tag has no letters to find it by among all; choose a user or session too.")
        wanted = Wanted((Phrase(found),) if found else ())
        return queryset.filter(has_it, search(queryset, wanted).condition)

    def frequent(self, changelist: Any) -> list[tuple[str, str]]:
        """Count the tags of the newest rows."""
        lists = (of_row for _, of_row in changelist.newest if isinstance(of_row, list))
        tags = (printable(tag) for of_row in lists for tag in of_row if isinstance(tag, str))
        return _most(changelist, tags)


class OfGroup(Given):
    """The rows of one group, such as a session."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return them."""
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset

    def frequent(self, changelist: Any) -> list[tuple[str, str]]:
        """Count the groups of the newest rows."""
        return _most(changelist, (printable(group) for group, _ in changelist.newest))


class Since(Given):
    """The rows from a day on, in UTC."""

    input_type = "date"

    title = "from"
    parameter_name = FROM

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return them."""
        return _bounded(self, request, queryset, "gte", timedelta())


class Until(Given):
    """The rows up to a day, that day included."""

    input_type = "date"

    title = "to"
    parameter_name = TO

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return them."""
        return _bounded(self, request, queryset, "lt", timedelta(days=1))


def of_group(field: str, name: str) -> type[Given]:
    """Return the filter by what groups records."""
    return type("OfItsGroup", (OfGroup,), {"title": name, "parameter_name": field})


class SearchedAdmin(QuickAdmin):
    """A list with a search."""

    change_list_template = "console/searched_list.html"

    def get_changelist(self, request: HttpRequest, **options: Any) -> Any:
        """Return the class of the list."""
        return SearchedList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Allow what the form of the search has fields for."""
        given = {one.parameter_name for one in self.list_filter if isinstance(one, type) and issubclass(one, Given)}
        return lookup in given or super().lookup_allowed(lookup, value, request)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Find rows by a whole id, and where nothing has it, by their words."""
        text = request.GET.get(SEARCH_VAR, "")
        if not text:
            return queryset, False
        # column by column: a planner that is asked for one row by any of them may look through the whole table for it
        named = [] if UNCLEAN.search(text) else [Q(**{name: text}) for name in self.search_fields]
        by_id = [one for one in named if queryset.filter(one).exists()]
        told = Told(is_by_id=True, in_texts=urlencode({SEARCH_VAR: f'"{text.replace(chr(34), " ")}"'}))
        condition = reduce(or_, by_id, Q())
        if not by_id:
            wanted = read(text)
            found = search(queryset, wanted)
            index = _index_of(self.model.kind)
            told = Told(
                is_empty=wanted.is_empty,
                unknown=found.unknown,
                ended_at=index.compare().ended_at,
                may_index=may(request.user, "index"),
            )
            condition = found.condition
        request.search_told = told  # type: ignore[attr-defined]  # for the template
        return queryset.filter(condition), False


def _index_of(kind: type[Record]) -> SearchIndex:
    return SearchIndex(next(domain for domain in registered() if kind in domain.kinds), kind)


def _most(changelist: Any, values: Iterator[str]) -> list[tuple[str, str]]:
    """Return the most frequent values; where there are more rows than were looked at, each with a plus."""
    more = "+" if len(changelist.newest) > LOOKED_AT else ""
    return [(value, f"{number}{more}") for value, number in Counter(values).most_common(MOST_FACETS)]


def _bounded(
    given: Given, request: HttpRequest, queryset: QuerySet[Any], condition: str, later: timedelta
) -> QuerySet[Any]:
    if not given.value():
        return queryset
    try:
        day = date.fromisoformat(str(given.value()))
    except ValueError:
        messages.error(request, f"“{given.title}” is no day of the calendar; write it as 2026-01-31.")
        return queryset.none()
    moment = datetime.combine(day, time(), UTC)
    if later > datetime.max.replace(tzinfo=UTC) - moment:
        return queryset
    return queryset.filter(**{f"{given.kind.time_field}__{condition}": moment + later})
