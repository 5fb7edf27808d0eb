"""Conditions for all databases: rows with these keys, and rows after a cursor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import msgspec
from django.db.models import BooleanField, F, Func, Lookup, Q

from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.records.record import Key, Record

_KEYS_AT_A_TIME = 500


def by_keys(kind: type[Record], keys: Iterable[Key], *, apart: bool = False) -> Iterator[Q]:
    """Yield conditions that together select these keys, at most 500 keys in each, or with `apart`, those of one user.

    A key with fewer or more parts than the kind's keys selects nothing.
    """
    return among(kind.key_fields, keys, apart=apart)


def among(names: tuple[str, ...], keys: Iterable[Key], *, apart: bool = False) -> Iterator[Q]:
    """Yield conditions that together select the rows with these values in some columns, at most 500 in each.

    With `apart`, each is for one user: shards lock no rows of several users by one statement.
    """
    storable = (key for key in keys if len(key) == len(names) and all(map(can_be_stored, key)))
    wanted = sorted(storable)  # the same lock order for all writers prevents deadlocks
    if not apart or "user_id" not in names:
        yield from _conditions(names, wanted)
        return
    user = names.index("user_id")
    for _, of_user in groupby(wanted, key=lambda key: key[user]):
        yield from _conditions(names, list(of_user))


def _conditions(names: tuple[str, ...], wanted: list[Key]) -> Iterator[Q]:
    *leading, last = names
    for start in range(0, len(wanted), _KEYS_AT_A_TIME):
        part = wanted[start : start + _KEYS_AT_A_TIME]
        prefix = part[0][:-1]
        if prefix == part[-1][:-1]:  # sorted keys of one user: a condition on the user routes the query to its shard
            yield Q(**dict(zip(leading, prefix, strict=True)), **{f"{last}__in": [key[-1] for key in part]})
        else:
            yield Q(HasKey(names, part))


class Condition(Func):
    """A condition in SQL of our own. It stands in WHERE as it is, so that it can use an index.

    Django 6.1 compares a function with true on SQLite, which uses no index for that; a lookup it leaves alone.
    """

    output_field = BooleanField()

    def resolve_expression(self, *args: Any, **options: Any) -> Any:
        """Return the condition as a lookup."""
        return _Holds(super().resolve_expression(*args, **options), True)


class _Holds(Lookup):
    """The lookup that a condition holds."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the condition itself."""
        return compiler.compile(self.lhs)


class HasKey(Condition):
    """The condition that a row has one of these keys of several parts, in a form that uses an index on the parts."""

    def __init__(self, names: tuple[str, ...], keys: Iterable[Key]) -> None:
        super().__init__(*map(F, names))
        self._names, self._keys = names, tuple(keys)

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the SQLite condition; it reads the keys from JSON, because SQLite uses no index for a VALUES list."""
        row, parameters = self._row(compiler)
        parts = ", ".join(f"json_extract(value, '$[{at}]')" for at in range(len(self.source_expressions)))
        return f"{row} IN (SELECT {parts} FROM json_each(%s))", [*parameters, msgspec.json.encode(self._keys).decode()]

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the PostgreSQL condition; it reads the keys from one array for each part.

        The users are named beside the keys, because a database with shards looks for no users in a function's rows.
        """
        row, parameters = self._row(compiler)
        number = len(self.source_expressions)
        arrays = ", ".join(["%s::text[]"] * number)
        condition = f"{row} IN (SELECT * FROM unnest({arrays}))"
        values = [*parameters, *([key[at] for key in self._keys] for at in range(number))]
        if "user_id" not in self._names:
            return condition, values
        at = self._names.index("user_id")
        user, given = compiler.compile(self.source_expressions[at])
        users = sorted({key[at] for key in self._keys})
        return f"({user} = ANY(%s::text[]) AND {condition})", [*given, users, *values]

    def _row(self, compiler: Any) -> tuple[str, list[Any]]:
        compiled = [compiler.compile(expression) for expression in self.source_expressions]
        return f"({', '.join(sql for sql, _ in compiled)})", [value for _, values in compiled for value in values]


def can_be_stored(name: Any) -> bool:
    """Tell whether a database can store a text. A query must not contain other texts; no row has them."""
    return isinstance(name, str) and UNCLEAN.search(name) is None


def beyond(names: tuple[str, ...], values: tuple[Any, ...], direction: str) -> Q:
    """Return the condition that a row comes after a cursor, (a, b) > (x, y), in a form for all databases."""
    beyond = Q()
    equal: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        beyond |= Q(**equal, **{f"{name}__{direction}": value})
        equal[name] = value
    return beyond
