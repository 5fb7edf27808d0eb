"""Filters of lists of records: by the exact value of a column, by tag, and by days."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from typing_extensions import override

from orbsite.search.analyzer import words
from orbsite.search.backends import HasTag
from orbsite.search.indexer import is_off
from orbsite.search.query import Phrase, Wanted
from orbsite.search.search import search
from orbsite.storage.records.record import Record

USER, TAG, FROM, TO = "user_id", "tag", "from", "to"


class TypedFilter(admin.SimpleListFilter):
    """A filter whose value the user types, or chooses among the frequent values of its column."""

    input_type = "text"
    column: str = ""
    """The column whose frequent values are facets; empty if there are none."""

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.kind: type[Record] = model.kind
        self.is_within = any(request.GET.get(name) for name in (USER, self.kind.group_field or USER))
        """Whether the list is filtered by a user or a group."""

    def has_output(self) -> bool:
        """Return True, because the filter is shown even when it has no choices."""
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[Any]:
        """Return no choices, because there may be any number of values."""
        return []


class OfTag(TypedFilter):
    """Filters the rows by tag."""

    title = "tag"
    parameter_name = TAG

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.column = str(self.kind.tag_field)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows with the tag; in a list of all users, the search index finds them by the tag's words."""
        tag = self.value()
        if not tag:
            return queryset
        has_it = Q(HasTag(str(self.kind.tag_field), tag))
        if self.is_within or is_off(self.kind):
            return queryset.filter(has_it)
        tag_words = tuple(words(tag))
        if not tag_words:
            messages.warning(
                request,
                "The search index cannot find this tag, because it has no letters. Filter by user or session too.",
            )
        wanted = Wanted((Phrase(tag_words),) if tag_words else ())
        return queryset.filter(has_it, search(queryset, wanted).complete())


class OfValue(TypedFilter):
    """Filters the rows by the exact value of an indexed column, such as the session."""

    @override
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset


class OfUser(OfValue):
    """Filters the rows by user."""

    title = "user"
    parameter_name = column = USER


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


def of_value(column: str, title: str) -> type[TypedFilter]:
    """Return a filter class for the exact value of an indexed column."""
    return type(f"Of_{column}", (OfValue,), {"title": title, "parameter_name": column, "column": column})
