"""Lists that cost as little on a large table as on a small one: no whole COUNT, no deep OFFSET, no scan to filter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import ForeignKey, Model, QuerySet
from django.http import HttpRequest

from orbsite.models.ledger import Run
from orbsite.storage.records.domain import registered

if TYPE_CHECKING:
    ModelAdmin: TypeAlias = admin.ModelAdmin[Any]
    _Paginator: TypeAlias = Paginator[Any]
else:  # Django's classes take no type arguments at run time
    ModelAdmin, _Paginator = admin.ModelAdmin, Paginator

MOST_COUNTED = 10_000
_QUICK = frozenset({"exact", "in", "isnull", "isempty", "gt", "gte", "lt", "lte"})
"""The conditions that an index answers."""


class AtLeast(int):
    """A number at which counting has stopped; it says so."""

    def __str__(self) -> str:
        return f"{int(self)}+"


class BoundedPaginator(_Paginator):
    """Counts, and pages, no further than 10,000 rows, so that a large table costs what a small one does."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, as far as it counts."""
        rows: Any = self.object_list
        number = int(rows.order_by()[:MOST_COUNTED].count())
        return AtLeast(number) if number == MOST_COUNTED else number


class QuickChangeList(ChangeList):
    """Sorts by those columns alone that the page offers."""

    def get_ordering_field(self, field_name: Any) -> Any:
        """Return what to sort by; None for a column that would have the whole table sorted."""
        return super().get_ordering_field(field_name) if field_name in (self.sortable_by or ()) else None


class StrictAdmin(ModelAdmin):
    """A list that is filtered by what it offers, and by nothing else that the table has."""

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Allow conditions in the address that the list offers."""
        return lookup.partition("__")[0] in self.offered(request) and super().lookup_allowed(lookup, value, request)

    def offered(self, request: HttpRequest) -> set[str]:
        """Return the fields by which the list is filtered."""
        filters: Any = self.get_list_filter(request)
        return {one[0] if isinstance(one, tuple) else one for one in filters}


class QuickAdmin(StrictAdmin):
    """A list that is counted, paged, sorted and filtered by what an index answers."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50

    def get_changelist(self, request: HttpRequest, **options: Any) -> Any:
        """Return the class of the list."""
        return QuickChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Allow conditions in the address that the list offers, or that an index answers."""
        _, *rest = lookup.split("__")
        is_quick = not rest or rest[-1] in _QUICK or rest == [str(self.opts.pk.attname)]
        return is_quick and super().lookup_allowed(lookup, value, request)

    def offered(self, request: HttpRequest) -> set[str]:
        """Return the fields by which the list is filtered, or an index finds rows; no digests, such as tokens'."""
        return (super().offered(request) | _indexed(self.model)) - {"digest"}


def known(name: str, choices: Callable[[], Iterable[str]]) -> type[admin.SimpleListFilter]:
    """Return a filter by a field of which all values are known: nobody looks for them in the table."""

    class Known(admin.SimpleListFilter):
        title = name
        parameter_name = f"{name}__exact"

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(one, one) for one in choices()]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{name: self.value()}) if self.value() else queryset

    return Known


def runs() -> list[str]:
    """Return the operations of which the ledger has runs."""
    return list(Run.Operation.values)


def domains() -> list[str]:
    """Return the names of all domains."""
    return [domain.name for domain in registered()]


def _indexed(model: type[Model]) -> set[str]:
    """Return the fields by which an index finds rows."""
    meta: Any = model._meta
    alone = {one.name for one in meta.fields if one.primary_key or one.db_index or one.unique}
    whole = [one for one in (*meta.indexes, *meta.constraints) if getattr(one, "condition", None) is None]
    first = {fields[0].lstrip("-") for one in whole if (fields := getattr(one, "fields", ()))}
    return alone | first | {one.name for one in meta.fields if isinstance(one, ForeignKey)} | {"pk"}
