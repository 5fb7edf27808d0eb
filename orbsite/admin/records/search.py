"""Lists of records with full-text search."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import Q
from django.http import HttpRequest
from typing_extensions import override

from orbsite.admin.base.changelist import BoundedPaginator, QuickAdmin
from orbsite.admin.base.permissions import may
from orbsite.search.indexer import SearchIndex, is_off
from orbsite.search.query import read
from orbsite.search.search import NEWEST, OFF, SearchResult, search
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.records.domain import registered

MOST_MATCHES = 1000
"""The number of matches at which counting stops, because each of a phrase is found by reading its words."""


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
    """Counts the rows of a search by the search itself, where there is one, up to `MOST_MATCHES`."""

    result: SearchResult | None = None

    @property
    @override
    def most(self) -> int:
        return super().most if self.result is None else min(MOST_MATCHES, super().most)

    @override
    def bounded(self, most: int) -> int:
        return super().bounded(most) if self.result is None else self.result.count(most)


class SearchedAdmin(QuickAdmin):
    """A change list with full-text search."""

    paginator = SearchPaginator
    search_label = "Search texts, or a complete id"
    search_help_text = (
        "A text must contain all words; the last word also matches longer words. "
        'Use "quotes" to find a phrase, and -word to exclude a word. Case and accents do not matter.'
    )

    @override
    def get_paginator(self, request: HttpRequest, *arguments: Any, **options: Any) -> Any:
        paginator: Any = super().get_paginator(request, *arguments, **options)
        paginator.result = getattr(request, "search_result", None)
        return paginator

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
