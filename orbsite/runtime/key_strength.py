"""Estimates the entropy of a secret key. A key with repetitions or counting sequences has few bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import log2

_SHORTEST_COPY = 3
_COST_OF_COPY = 2


def estimated_bits(key: str) -> float:
    """Return an upper estimate of the entropy of a key, in bits.

    A repeated part counts as two characters, regardless of its length. If the differences between neighbouring
    characters have less entropy than the characters, as in a counting sequence, the differences are measured.
    """
    codes = [ord(character) for character in key]
    steps = [second - first for first, second in pairwise(codes)]
    return min(_bits(codes), _bits(steps))


def _bits(values: Sequence[int]) -> float:
    literals, copies = _parsed(values)
    return (len(literals) + _COST_OF_COPY * copies) * _entropy(literals)


def _parsed(values: Sequence[int]) -> tuple[list[int], int]:
    """Return the values outside of repetitions, and the number of repeated parts."""
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
    """Return the Shannon entropy per value, in bits."""
    number = len(values)
    return -sum(count / number * log2(count / number) for count in Counter(values).values())
