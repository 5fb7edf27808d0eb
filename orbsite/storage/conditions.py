"""Conditions that every database understands: these keys, and whatever comes after a cursor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import Q

from orbsite.storage.jsontext import UNCLEAN
from orbsite.storage.record import Key, Record

_KEYS_AT_A_TIME = 500


def by_keys(kind: type[Record], keys: Iterable[Key]) -> Iterator[Q]:
    """Yield conditions that together select these keys, none of them too long for a database."""
    *leading, last = kind.key_fields
    groups: dict[Key, list[str]] = {}
    for key in sorted(key for key in keys if all(map(can_be_stored, key))):  # one order for all: no deadlock
        groups.setdefault(key[:-1], []).append(key[-1])
    for prefix, values in groups.items():
        fixed = dict(zip(leading, prefix, strict=True))
        for start in range(0, len(values), _KEYS_AT_A_TIME):
            yield Q(**fixed, **{f"{last}__in": values[start : start + _KEYS_AT_A_TIME]})


def can_be_stored(name: Any) -> bool:
    """Tell whether a database can be asked for a text at all; what cannot be stored is not there."""
    return isinstance(name, str) and UNCLEAN.search(name) is None


def beyond(names: tuple[str, ...], values: tuple[Any, ...], direction: str) -> Q:
    """Return the condition that a row comes after a cursor: (a, b) > (x, y), spelled out for every database."""
    beyond = Q()
    equal: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        beyond |= Q(**equal, **{f"{name}__{direction}": value})
        equal[name] = value
    return beyond
