"""The change list of records: the beginnings of their texts, and the facets of its filters, in bounded time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR
from django.db import models
from django.db.models.functions import Left
from django.http import HttpRequest
from typing_extensions import override

from orbsite.admin.base.cells import LONGEST
from orbsite.admin.base.changelist import AtLeast, QuickChangeList
from orbsite.admin.records.filters import FROM, TO, TypedFilter
from orbsite.storage.clock import utc_now
from orbsite.storage.findings import printable
from orbsite.storage.records.record import Record, is_ordered_by_time
from orbsite.storage.records.sealed_columns import is_marked, is_sealing
from orbsite.storage.sql.models import MASK, BrokenJSON

COUNTED_ROWS = 1000
"""The number of rows, the newest ones where the records have a time, in which facets are counted."""
COUNTED_MATCHES = 100
"""The same for a search in all rows, which is planned to find as many quickly."""
MOST_FACETS = 20
_PERIODS = (("Today", 0), ("Last 7 days", 6), ("Last 30 days", 29), ("Last year", 364))
"""The periods that one click chooses, with the number of days before today."""


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A frequent value of a column, with the number of rows that have it, and the query string for these rows."""

    text: str
    number: int
    query: str


@dataclass(frozen=True, slots=True)
class Facet:
    """The frequent values of a filter, or the value that it filters by and the query string without it."""

    title: str
    name: str
    values: tuple[FacetValue, ...] = ()
    chosen: str = ""
    without: str = ""

    @property
    def key(self) -> tuple[str]:
        """The chosen value as the key of a page's URL."""
        return (self.chosen,)


class RecordList(QuickChangeList):
    """A change list that reads only the beginnings of texts, and counts facets in a bounded number of rows."""

    @override
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.has_search = getattr(request, "search_result", None) is not None

    @override
    def load(self, rows: Any) -> list[Any]:
        return rows_for_list(rows, {name.removeprefix("shown_") for name in map(str, self.list_display)})

    @property
    def others(self) -> list[tuple[str, Any]]:
        """The query parameters that the search form has no field for."""
        own = {spec.parameter_name for spec in self._typed} | {SEARCH_VAR}
        return [(name, value) for name, value in self.params.items() if name not in own]

    @property
    def conditions(self) -> list[Facet]:
        """The conditions that the search form has no field for, such as those of an older link."""
        return [
            Facet(name, name, chosen=str(value), without=self.get_query_string({name: None}, [PAGE_VAR]))
            for name, value in self.others
            if "__" in name
        ]

    @cached_property
    def facets(self) -> list[Facet]:
        """The facets of all filters with a value, or with frequent values."""
        facets = [self._facet(spec) for spec in self._typed]
        return [facet for facet in facets if facet.chosen or facet.values]

    @property
    def periods(self) -> list[tuple[str, str]]:
        """The periods to choose from with their query strings; none if the list has no filter by time."""
        if FROM not in {spec.parameter_name for spec in self._typed}:
            return []
        today = utc_now().date()
        return [
            (title, self.get_query_string({FROM: str(today - timedelta(days)), TO: None}, [PAGE_VAR]))
            for title, days in _PERIODS
        ]

    @cached_property
    def counted(self) -> list[dict[str, Any]]:
        """The columns of the facets in the first rows, at most one row more than are counted."""
        kind: type[Record] = self.model.kind  # type: ignore[attr-defined]  # a table of records
        sign = "-" if is_ordered_by_time(kind) else ""
        rows = self.queryset.order_by(*(sign + name for name in kind.order_fields))
        return list(rows.values(*dict.fromkeys(spec.column for spec in self._typed if spec.column))[: self._most + 1])

    @property
    def _typed(self) -> list[TypedFilter]:
        return [spec for spec in self.filter_specs if isinstance(spec, TypedFilter)]

    @property
    def _most(self) -> int:
        is_within = any(spec.is_within for spec in self._typed)
        return COUNTED_MATCHES if self.has_search and not is_within else COUNTED_ROWS

    def _facet(self, spec: TypedFilter) -> Facet:
        name, title = str(spec.parameter_name), str(spec.title)
        if spec.value():
            return Facet(title, name, chosen=str(spec.value()), without=self.get_query_string({name: None}, [PAGE_VAR]))
        return Facet(title, name, tuple(self._frequent(spec, name)) if spec.column else ())

    def _frequent(self, spec: TypedFilter, name: str) -> Iterator[FacetValue]:
        has_more = len(self.counted) > self._most
        values = (value for row in self.counted for value in _texts(row[spec.column]))
        for value, number in Counter(values).most_common(MOST_FACETS):
            query = self.get_query_string({name: value}, [PAGE_VAR])
            yield FacetValue(value, AtLeast(number) if has_more else number, query)


def rows_for_list(rows: models.QuerySet[Any], names: Collection[str]) -> list[Any]:
    """Return rows with at most `LONGEST` characters and one more of the texts in `names`, in their `beginnings`.

    Other texts are not read, because any text may be large. Sealed values are masked.
    """
    texts = [field.name for field in rows.model._meta.concrete_fields if isinstance(field, models.TextField)]
    shown = [name for name in texts if name in names]
    begun = {f"_begin_{name}": Left(name, LONGEST + 1) for name in shown}
    found = list(rows.defer(*texts).annotate(**begun))
    for row in found:
        row.mask_columns()
        row.beginnings = {name: _masked(getattr(row, f"_begin_{name}")) for name in shown}
    return found


def _masked(text: Any) -> str:
    if text is None:
        return ""
    return MASK if is_sealing() or is_marked(text) else printable(text)


def _texts(value: Any) -> Iterable[str]:
    """Return a value, or the texts in a list, as valid Unicode text."""
    values = value if isinstance(value, list) else [value]
    return (printable(one) for one in values if isinstance(one, str) and one and not isinstance(one, BrokenJSON))
