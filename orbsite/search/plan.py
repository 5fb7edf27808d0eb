"""Decides whether a search reads the index of words, or the rows in their order, each with its words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import inf
from typing import Any

from django.db.models import QuerySet

from orbsite.search.index_query import IndexQuery

FEW = 1000
"""The number of rows with a word up to which a search always reads the index."""
ENOUGH, MANY = 5000, 20_000
"""The numbers between which counting the rows with a word stops: once they are as many as there are rows to a page."""
SMALL = 100_000
"""The number at which counting the rows to search stops."""
_PAGE = 100


class SearchPlan:
    """The estimated cost of a search both ways, as numbers of rows; infinite where counting stopped.

    Reading the index costs as much as there are rows with the rarest word. Reading the rows costs as much as there are
    rows up to the end of a page, which depends on how many of the newest match. `matching` tells which of these do.
    """

    def __init__(self, rows: QuerySet[Any], index: IndexQuery, matching: Sequence[bool]) -> None:
        self._rows, self.index = rows, index
        self._page = _PAGE * len(matching) / sum(matching) if any(matching) else inf

    @cached_property
    def reads_index(self) -> bool:
        """Whether the index finds the rows of a page."""
        if self._hits <= FEW:
            return True
        if self._page <= self._hits and self._page < inf:
            return False
        return self._hits < self._size or self._size == inf

    @cached_property
    def counts_by_index(self) -> bool:
        """Whether the index is read step by step to count, as far as necessary, instead of a page's query."""
        is_read_completely = self.reads_index and self._hits < inf
        return not is_read_completely and self._hits <= self._size

    @cached_property
    def _hits(self) -> float:
        most = int(min(MANY, max(ENOUGH, self._page)))
        number = self.index.rows_of_rarest_word(most)
        return number if number < most else inf

    @cached_property
    def _size(self) -> float:
        number = int(self._rows.order_by()[:SMALL].count())
        return number if number < SMALL else inf
