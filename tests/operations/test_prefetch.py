from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from orbsite.operations.prefetch import Ahead


def threads() -> int:
    return sum(thread.name == "orb-ahead" for thread in threading.enumerate())


def test_items_come_in_their_order() -> None:
    with Ahead(iter(range(100))) as items:
        assert list(items) == list(range(100))


def test_what_is_raised_while_making_is_raised_where_it_is_missed() -> None:
    def making() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    with Ahead(making()) as items:
        assert next(items) == 1
        with pytest.raises(OSError, match="no more"):
            next(items)


def test_a_thread_ends_with_whoever_leaves_early_and_makes_no_more_than_a_few() -> None:
    made = []

    def making() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    with Ahead(making()) as items:
        next(items)
    assert len(made) < 10
    assert threads() == 0


def test_threads_take_short_turns_only_meanwhile() -> None:
    usual = sys.getswitchinterval()
    with Ahead([1]) as one, Ahead([2]) as two:
        assert (next(one), next(two), sys.getswitchinterval() < usual) == (1, 2, True)
    assert sys.getswitchinterval() == usual
