"""Change lists whose cost does not grow with the table: no full COUNT, no deep OFFSET, no table scan to filter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import ForeignKey, Model, QuerySet
from django.http import HttpRequest
from typing_extensions import override

from orbsite.models.ledger import Run
from orbsite.storage.records.domain import registered

if TYPE_CHECKING:
    ModelAdmin: TypeAlias = admin.ModelAdmin[Any]
    _Paginator: TypeAlias = Paginator[Any]
else:  # Django's classes take no type arguments at run time
    ModelAdmin, _Paginator = admin.ModelAdmin, Paginator

MOST_COUNTED = 10_000
_QUICK = frozenset({"exact", "in", "isnull", "isempty", "gt", "gte", "lt", "lte"})
"""The lookups that a database can answer with an index."""


class AtLeast(int):
    """A number at which counting stopped; its text ends with a plus sign."""

    def __str__(self) -> str:
        return f"{int(self):,}+"


class BoundedPaginator(_Paginator):
    """Counts and shows at most the first 10,000 rows, so that a large table costs as little as a small one."""

    @cached_property
    def count(self) -> int:
        """The number of rows, or `AtLeast(most)` when there are that many or more."""
        number = self.bounded(self.most)
        return AtLeast(number) if number == self.most else number

    @property
    def most(self) -> int:
        """The number of rows at which counting stops."""
        return MOST_COUNTED

    def bounded(self, most: int) -> int:
        """Return the number of rows, at most `most`."""
        rows: Any = self.object_list
        return int(rows.order_by()[:most].count())


class QuickChangeList(ChangeList):
    """A change list that sorts only by the columns in `sortable_by`."""

    def get_results(self, request: HttpRequest) -> None:
        """Find the rows of the page, and load them."""
        super().get_results(request)
        self.result_list: Any = self.load(self.result_list)

    def load(self, rows: QuerySet[Any]) -> list[Any]:
        """Return the rows of the page; a list of records loads less of them."""
        return list(rows)

    def get_ordering_field(self, field_name: Any) -> Any:
        """Return the field to sort by, or None for a column that would sort the whole table."""
        return super().get_ordering_field(field_name) if field_name in (self.sortable_by or ()) else None


class StrictAdmin(ModelAdmin):
    """A change list that accepts only the filters that it offers."""

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Allow only lookups on the fields that the list offers as filters."""
        return lookup.partition("__")[0] in self.offered(request) and super().lookup_allowed(lookup, value, request)

    def offered(self, request: HttpRequest) -> set[str]:
        """Return the fields that the list offers as filters."""
        filters: Any = self.get_list_filter(request)
        return {entry[0] if isinstance(entry, tuple) else entry for entry in filters}


class QuickAdmin(StrictAdmin):
    """A change list that counts, pages, sorts and filters only with queries that an index answers."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50

    @override
    def get_changelist(self, request: HttpRequest, **options: Any) -> Any:
        return QuickChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Allow only lookups that an index answers, on the fields that the list offers."""
        _, *rest = lookup.split("__")
        is_quick = not rest or rest[-1] in _QUICK or rest == [str(self.opts.pk.attname)]
        return is_quick and super().lookup_allowed(lookup, value, request)

    def offered(self, request: HttpRequest) -> set[str]:
        """Return the fields that the list offers as filters and all indexed fields, except digests such as tokens'."""
        return (super().offered(request) | _indexed(self.model)) - {"digest"}


def known(name: str, choices: Callable[[], Iterable[str]]) -> type[admin.SimpleListFilter]:
    """Return a filter for a field whose values are all known, so that no query has to collect them."""

    class Known(admin.SimpleListFilter):
        title = name
        parameter_name = f"{name}__exact"

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(choice, choice) for choice in choices()]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{name: self.value()}) if self.value() else queryset

    return Known


def runs() -> list[str]:
    """Return the names of the operations that write runs to the ledger."""
    return list(Run.Operation.values)


def domains() -> list[str]:
    """Return the names of all registered domains."""
    return [domain.name for domain in registered()]


def _indexed(model: type[Model]) -> set[str]:
    """Return the names of the fields that are the first column of an index."""
    meta: Any = model._meta
    single = {field.name for field in meta.fields if field.primary_key or field.db_index or field.unique}
    complete = [index for index in (*meta.indexes, *meta.constraints) if getattr(index, "condition", None) is None]
    first = {fields[0].lstrip("-") for index in complete if (fields := getattr(index, "fields", ()))}
    return single | first | {field.name for field in meta.fields if isinstance(field, ForeignKey)} | {"pk"}
