"""How hard a secret key is to guess, as an estimate: a key that repeats itself or counts up has few bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import log2

_SHORTEST_COPY = 3
_COST_OF_COPY = 2


def estimated_bits(key: str) -> float:
    """Return about how many bits of chance a key has, at most what it would take to write it down.

    What stood in the key before costs as much as two characters, however long it is. A key that goes up or down by
    equal steps is measured by its steps.
    """
    codes = [ord(character) for character in key]
    steps = [second - first for first, second in pairwise(codes)]
    return min(_bits(codes), _bits(steps))


def _bits(values: Sequence[int]) -> float:
    literals, copies = _parsed(values)
    return (len(literals) + _COST_OF_COPY * copies) * _entropy(literals)


def _parsed(values: Sequence[int]) -> tuple[list[int], int]:
    """Return the values that are new, and how many pieces are copies of what was there before."""
    literals: list[int] = []
    copies, at = 0, 0
    while at < len(values):
        length = _longest_copy(values, at)
        if length >= _SHORTEST_COPY:
            copies += 1
            at += length
        else:
            literals.append(values[at])
            at += 1
    return literals, copies


def _longest_copy(values: Sequence[int], at: int) -> int:
    best = 0
    for start in range(at):
        length = 0
        while at + length < len(values) and values[start + length] == values[at + length]:
            length += 1
        best = max(best, length)
    return best


def _entropy(values: Sequence[int]) -> float:
    """Return Shannon's entropy of one value, in bits."""
    number = len(values)
    return -sum(count / number * log2(count / number) for count in Counter(values).values())
