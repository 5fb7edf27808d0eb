"""A search reads whichever is less: the rows of its rarest word, or the rows up to the end of a page."""

from __future__ import annotations

from typing import Any

import pytest

from orbsite.search.plan import ENOUGH, FEW, MANY, SMALL, SearchPlan


class Rows:
    """A table with a number of rows, as a query that can only be counted."""

    def __init__(self, number: int) -> None:
        self._number = number

    def order_by(self) -> Rows:
        return self

    def __getitem__(self, part: slice) -> Rows:
        return Rows(min(self._number, part.stop))

    def count(self) -> int:
        return self._number


class Index:
    """An index in which the rarest word has a number of rows."""

    def __init__(self, number: int) -> None:
        self._number, self.asked = number, 0

    def rows_of_rarest_word(self, most: int) -> int:
        self.asked = most
        return min(self._number, most)


def planned(size: int, hits: int, matching: int, newest: int = 500) -> SearchPlan:
    rows: Any = Rows(size)
    index: Any = Index(hits)
    return SearchPlan(rows, index, [True] * matching + [False] * (newest - matching))


@pytest.mark.parametrize(
    ("size", "hits", "matching", "reads_index", "counts_by_index"),
    [
        (10**6, FEW, 500, True, False),  # a rare word, although the newest rows have it
        (10**6, 900_000, 450, False, True),  # a frequent word
        (10**6, 20_000, 10, False, True),  # every 50th row
        (10**6, 3000, 2, True, False),  # every 300th row
        (10**6, 900_000, 0, True, True),  # frequent words that never match together, as a phrase
        (500, 900_000, 250, False, False),  # a user with few rows
        (500, 900_000, 0, False, False),
        (SMALL - 1, 900_000, 0, False, False),
        (SMALL, 900_000, 0, True, True),
        (2000, 2500, 0, False, False),
        (2500, 2000, 0, True, False),
        (0, 0, 0, True, False),
    ],
)
def test_less_is_read(size: int, hits: int, matching: int, reads_index: bool, counts_by_index: bool) -> None:
    plan = planned(size, hits, matching)
    assert (plan.reads_index, plan.counts_by_index) == (reads_index, counts_by_index)


@pytest.mark.parametrize(("matching", "most"), [(500, ENOUGH), (5, 10_000), (1, MANY), (0, MANY)])
def test_the_rows_of_a_word_are_counted_as_far_as_it_matters(matching: int, most: int) -> None:
    index: Any = Index(10**6)
    rows: Any = Rows(10**6)
    assert SearchPlan(rows, index, [True] * matching + [False] * (500 - matching)).reads_index is (matching == 0)
    assert index.asked == most
