"""Conditions that every database understands: these keys, and whatever comes after a cursor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from django.db.models import BooleanField, F, Func, Q

from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.records.record import Key, Record

_KEYS_AT_A_TIME = 500


def by_keys(kind: type[Record], keys: Iterable[Key]) -> Iterator[Q]:
    """Yield conditions that together select these keys, none of them too long for a database.

    A key of fewer or more parts than the kind's is no record's.
    """
    return among(kind.key_fields, keys)


def among(names: tuple[str, ...], keys: Iterable[Key]) -> Iterator[Q]:
    """Yield conditions that together select rows by the values of some columns, as `by_keys` does."""
    *leading, last = names
    storable = (key for key in keys if len(key) == len(names) and all(map(can_be_stored, key)))
    wanted = sorted(storable)  # one order for all: no deadlock
    for start in range(0, len(wanted), _KEYS_AT_A_TIME):
        some = wanted[start : start + _KEYS_AT_A_TIME]
        prefix = some[0][:-1]
        if prefix == some[-1][:-1]:  # they are sorted: all of one user, which routes the query to its shard
            yield Q(**dict(zip(leading, prefix, strict=True)), **{f"{last}__in": [key[-1] for key in some]})
        else:
            yield Q(HasKey(names, some))


class HasKey(Func):
    """The condition that a row has one of these keys of several parts; an index on the parts answers it."""

    output_field = BooleanField()

    def __init__(self, names: tuple[str, ...], keys: Iterable[Key]) -> None:
        super().__init__(*map(F, names))
        self._keys = tuple(keys)

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Read the keys from JSON: of a list of VALUES, SQLite asks no index."""
        row, parameters = self._row(compiler)
        parts = ", ".join(f"json_extract(value, '$[{at}]')" for at in range(len(self.source_expressions)))
        return f"{row} IN (SELECT {parts} FROM json_each(%s))", [*parameters, msgspec.json.encode(self._keys).decode()]

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Read the keys from an array for each part."""
        row, parameters = self._row(compiler)
        number = len(self.source_expressions)
        arrays = ", ".join(["%s::text[]"] * number)
        return f"{row} IN (SELECT * FROM unnest({arrays}))", [
            *parameters,
            *([key[at] for key in self._keys] for at in range(number)),
        ]

    def _row(self, compiler: Any) -> tuple[str, list[Any]]:
        compiled = [compiler.compile(one) for one in self.source_expressions]
        return f"({', '.join(sql for sql, _ in compiled)})", [value for _, values in compiled for value in values]


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
