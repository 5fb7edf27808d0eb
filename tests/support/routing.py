"""Tells of SQL statements which rows of users they reach: those of known users, by a condition, or those of any user.

The statements are parsed by sqlglot. One that names a table of users and cannot be parsed is an error, and so is one
with a form that is not known here, so that no statement passes because nobody has looked at it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sqlglot
from django.db import connections
from psycopg import ServerCursor
from sqlglot import exp
from sqlglot.errors import SqlglotError

from orbsite.models.idempotency import Answer
from orbsite.models.ledger import Change, Reject
from orbsite.models.placement import USER, Placement, has_owner, keys_of, tables

_PLACE, _WORD = re.compile(r"%%|%s"), re.compile(r"\w+")
_COPY = re.compile(r"COPY \((?P<query>.*)\) TO STDOUT", re.DOTALL)
_LONGEST = 700
ROWS_OF_NO_COLUMN = (Answer, Change, Reject)
"""The models whose rows belong to users who stand in no column of keys."""


class Unrouted(AssertionError):
    """A statement reaches rows of users whom it does not name."""


@dataclass(frozen=True)
class Owned:
    """A table with rows of users."""

    name: str
    keys: tuple[frozenset[str], ...]
    """The sets of columns of which one has to be known to reach the rows on one node."""
    is_distributed: bool


def owned_tables() -> dict[str, Owned]:
    """Return the tables with rows of users, from the models.

    A row of a distributed table is found by its user alone. Other tables are on one node, and a row of theirs is found
    by its user or by a whole key.
    """
    found = {}
    for table in tables():
        is_distributed = table.placement is Placement.DISTRIBUTED
        if is_distributed or has_owner(table.model) or table.model in ROWS_OF_NO_COLUMN:
            keys = [] if is_distributed else map(frozenset, keys_of(table.model))
            found[table.name] = Owned(table.name, (frozenset({USER}), *keys), is_distributed)
    return found


@dataclass
class Reach:
    """What one statement reaches."""

    statement: str
    unrouted: list[str] = field(default_factory=list)
    """The tables of which it reaches rows of any user."""
    tables: set[str] = field(default_factory=set)
    """All tables with rows of users that it names."""
    users: set[Any] = field(default_factory=set)
    """The users that its conditions and rows name."""
    is_bounded: bool = True
    """Whether it returns a limited number of rows, or is read as a stream."""

    def __str__(self) -> str:
        return f"{', '.join(self.unrouted)} without the user's key: {self.statement[:_LONGEST]}"


def reach(statement: str, values: Any, vendor: str, owned: Mapping[str, Owned]) -> Reach | None:
    """Return what a statement reaches, None if it names no table with rows of users. Raises Unrouted."""
    if owned.keys().isdisjoint(_WORD.findall(statement)):
        return None
    copied = _COPY.fullmatch(statement.strip())
    tree, number = _parsed(copied["query"] if copied else statement, vendor)
    given = list(values or ())
    if not isinstance(values, Mapping) and len(given) != number:
        raise Unrouted(f"{len(given)} values for {number} places: {statement[:_LONGEST]}")
    found = Reach(statement)
    Walk(found, given, owned, has_shards=vendor == "postgresql").statement(tree)
    found.is_bounded |= copied is not None
    return found if found.tables else None


@lru_cache(maxsize=1000)
def _parsed(statement: str, vendor: str) -> tuple[Any, int]:
    """Return the tree of a statement, and how many places for values it has. Raises Unrouted."""
    text, number = _numbered(statement)
    try:
        (tree,) = sqlglot.parse(text, read="postgres" if vendor == "postgresql" else "sqlite")
    except (SqlglotError, ValueError) as problem:
        raise Unrouted(f"cannot be parsed ({problem}): {statement[:_LONGEST]}") from problem
    return tree, number


def _numbered(statement: str) -> tuple[str, int]:
    """Return a statement with the number of each place for a value, and how many there are."""
    number = 0

    def one(match: re.Match[str]) -> str:
        nonlocal number
        if match[0] == "%%":
            return "%"
        number += 1
        return f":p{number - 1}"

    return _PLACE.sub(one, statement), number


Bound = dict[tuple[str, str], set[Any]]
"""The columns whose values are known, by source and column, with these values."""


class Walk:
    """The walk over one statement, from the outermost query to the innermost."""

    def __init__(self, found: Reach, values: Sequence[Any], owned: Mapping[str, Owned], *, has_shards: bool) -> None:
        self._found, self._values, self._owned, self._has_shards = found, values, owned, has_shards

    def statement(self, tree: Any) -> None:
        """Look at a whole statement."""
        match tree:
            case exp.Insert():
                self._insert(tree)
            case exp.Update():
                sets = {one.this.name for one in tree.expressions}
                self._refuse(self._is_distributed(tree.this) and USER in sets, "changes the user of a row", tree)
                self._query(tree, [tree.this], tree.args.get("from_"), {})
            case exp.Delete():
                using = tree.args.get("using") or []
                self._query(tree, [tree.this, *using], None, {})
            case exp.Query():
                self._found.is_bounded = _is_bounded(tree)
                self._select(tree, {})
            case exp.Copy(this=exp.Schema() as target):
                self._found.tables.add(target.this.name)
                self._refuse(USER not in {one.name for one in target.expressions}, "copies rows without users", tree)
            case exp.Create() if isinstance(tree.expression, exp.Query):
                self._select(tree.expression, {})
            case _:
                self._refuse(True, "has a form that is not known here", tree)

    def _is_distributed(self, table: Any) -> bool:
        return table.name in self._owned and self._owned[table.name].is_distributed

    def _insert(self, tree: exp.Insert) -> None:
        target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
        names = [one.name for one in tree.this.expressions] if isinstance(tree.this, exp.Schema) else []
        source, conflict = tree.expression, tree.args.get("conflict")
        if target.name in self._owned:
            self._found.tables.add(target.name)
            sets = {one.this.name for one in (conflict.expressions if conflict else ()) or ()}
            if self._is_distributed(target):
                self._refuse(USER in sets, "changes the user of a row", tree)
                self._refuse(USER not in names, "inserts a row without its user", tree)
            if isinstance(source, exp.Values) and USER in names:
                for row in source.expressions:
                    self._found.users |= self._known(row.expressions[names.index(USER)]) or set()
        if isinstance(source, exp.Query):
            self._ctes(tree, {})
            self._select(source, {})

    def _select(
        self, query: Any, outer: Bound, ctes: Mapping[str, dict[str, set[Any]]] | None = None
    ) -> dict[str, Any]:
        """Look at a query, and return the columns of its result whose values are known."""
        query = query.unnest()
        ctes = dict(ctes or {}) | self._ctes(query, outer, ctes)
        if isinstance(query, exp.SetOperation):
            left, right = self._select(query.left, outer, ctes), self._select(query.right, outer, ctes)
            return {name: left[name] | right[name] for name in left if name in right}
        if not isinstance(query, exp.Select):
            return {}
        begin = query.args.get("from_")
        bound = self._query(query, [begin.this] if begin else [], None, outer, ctes)
        sources = _sources(query, [begin.this] if begin else [])
        known = {}
        for one in query.expressions:
            column = one.unalias() if isinstance(one, exp.Alias) else one
            if isinstance(column, exp.Column) and (place := _place(column, sources)) in bound:
                known[one.alias_or_name] = bound[place]
        return known

    def _ctes(self, tree: Any, outer: Bound, above: Any = None) -> dict[str, dict[str, set[Any]]]:
        """Look at the common table expressions of a query, and return what is known of each."""
        found: dict[str, dict[str, set[Any]]] = dict(above or {})
        for one in tree.ctes if hasattr(tree, "ctes") else ():
            if isinstance(one.this, exp.Query):
                found[one.alias] = {}
                found[one.alias] = self._select(one.this, outer, found)
            else:
                self.statement(one.this)
                found[one.alias] = {}
        return found

    def _query(
        self, tree: Any, begin: Sequence[Any], more: Any, outer: Bound, ctes: Mapping[str, Any] | None = None
    ) -> Bound:
        """Look at the sources and the conditions of a query, and return what is known of its columns."""
        ctes = self._ctes(tree, outer) if ctes is None else ctes
        begin = [*begin, *([more.this] if more is not None else [])]
        sources = _sources(tree, begin)
        bound: Bound = dict(outer)
        for alias, source in sources.items():
            known = (
                self._select(source.this, outer, ctes) if isinstance(source, exp.Subquery) else ctes.get(source.name)
            )
            bound |= {(alias, name): values for name, values in (known or {}).items()}
        conditions = list(_conditions(tree))
        while any(self._learn(one, bound, sources) for one in conditions):
            pass
        for alias, source in sources.items():
            if isinstance(source, exp.Table) and source.name in self._owned and source.name not in ctes:
                self._look_at(alias, self._owned[source.name], bound)
        for inner in _inner_queries(tree, sources):
            self._select(inner, bound, ctes)
        return bound

    def _look_at(self, alias: str, table: Owned, bound: Bound) -> None:
        self._found.tables.add(table.name)
        known = {column for (source, column) in bound if source == alias}
        if not any(key <= known for key in table.keys):
            self._found.unrouted.append(table.name)
        self._found.users |= bound.get((alias, USER), set())

    def _learn(self, condition: Any, bound: Bound, sources: Mapping[str, Any]) -> bool:
        """Add what a condition tells of a column; tell whether that is new."""
        pairs: list[tuple[Any, set[Any] | None]] = []
        match condition:
            case exp.EQ():
                left, right = condition.left.unnest(), condition.right.unnest()
                sides = ((left, right), (right, left))
                pairs = [
                    (_place(one, sources), self._value(other, bound, sources))
                    for one, other in sides
                    if isinstance(one, exp.Column)
                ]
            case exp.In(this=exp.Column() as column) if condition.expressions:
                each = [self._known(value) for value in condition.expressions]
                pairs = [(_place(column, sources), None if None in each else set().union(*each))]  # type: ignore[arg-type]
            case exp.In():
                pairs = [*self._named_in_keys(condition, sources)]
        new = [(place, values) for place, values in pairs if values is not None and place not in bound]
        bound.update(new)
        return bool(new)

    def _value(self, one: Any, bound: Bound, sources: Mapping[str, Any]) -> set[Any] | None:
        return bound.get(_place(one, sources)) if isinstance(one, exp.Column) else self._known(one)

    def _named_in_keys(self, condition: exp.In, sources: Mapping[str, Any]) -> list[tuple[Any, set[Any]]]:
        """Return the columns of `(user_id, id) IN (SELECT ...)` from a list of keys in a parameter.

        That names the users, but not to a database with shards, which does not look into the list.
        """
        query, row = condition.args.get("query"), condition.this
        if self._has_shards or query is None or not isinstance(row, exp.Tuple) or self._reads_rows(query):
            return []
        return [(_place(one, sources), set()) for one in row.expressions if isinstance(one, exp.Column)]

    def _reads_rows(self, query: Any) -> bool:
        return any(one.name in self._owned for one in query.find_all(exp.Table))

    def _known(self, value: Any) -> set[Any] | None:
        """Return the values of an expression that reads no row, None for another."""
        while isinstance(value, exp.Paren | exp.Cast | exp.Any | exp.Tuple | exp.Array):
            if isinstance(value, exp.Tuple | exp.Array):
                each = [self._known(one) for one in value.expressions]
                return None if None in each else set().union(*each)  # type: ignore[arg-type]
            value = value.this
        if isinstance(value, exp.Literal):
            return {value.name}
        if isinstance(value, exp.Placeholder) and value.name.startswith("p"):
            given = self._values[int(value.name[1:])]
            return set(given) if isinstance(given, list | tuple) else {given}
        return None

    def _refuse(self, is_so: bool, what: str, tree: Any) -> None:
        if is_so:
            raise Unrouted(f"{what}: {tree.sql()[:_LONGEST]}")


def _sources(tree: Any, begin: Sequence[Any]) -> dict[str, Any]:
    """Return the tables and the subqueries from which a query reads, by alias."""
    joined = [join.this for join in tree.args.get("joins") or ()]
    nested = [join.this for one in begin for join in one.args.get("joins") or ()]
    found = [*begin, *joined, *nested]
    return {one.alias_or_name: one for one in found if isinstance(one, exp.Table | exp.Subquery)}


def _conditions(tree: Any) -> Iterator[Any]:
    """Yield the conditions that all rows of a query meet; those of an outer join hold for its own rows."""
    begin = tree.args.get("from_")
    nested = begin.this.args.get("joins") if begin is not None else None
    joins = [*(tree.args.get("joins") or ()), *(nested or ())]
    for whole in (tree.args.get("where"), *(join.args.get("on") for join in joins)):
        waiting = [whole.this if isinstance(whole, exp.Where) else whole] if whole is not None else []
        while waiting:
            one = waiting.pop().unnest()
            if isinstance(one, exp.And):
                waiting += [one.left, one.right]
            else:
                yield one


def _place(column: exp.Column, sources: Mapping[str, Any]) -> tuple[str, str]:
    """Return the source of a column, which is the only one where none is named, and its name."""
    return column.table or (next(iter(sources)) if len(sources) == 1 else ""), column.name


def _inner_queries(tree: Any, sources: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the queries in the expressions of a query, without those that are its sources or its own parts."""
    known = {id(source.this) for source in sources.values() if isinstance(source, exp.Subquery)}
    known |= {id(one.this) for one in getattr(tree, "ctes", ())}
    waiting = list(tree.iter_expressions())
    while waiting:
        one = waiting.pop()
        if id(one) in known:
            continue
        if isinstance(one, exp.Query) and not isinstance(one, exp.Subquery | exp.Table):
            yield one
        else:
            waiting += one.iter_expressions()


def _is_bounded(query: Any) -> bool:
    """Tell whether a query returns a limited number of rows: it has a limit, or is one row of aggregates."""
    query = query.unnest()
    if query.args.get("limit") is not None:
        return True
    if isinstance(query, exp.SetOperation) or query.args.get("group") is not None:
        return False
    return bool(query.expressions) and all(one.find(exp.AggFunc) is not None for one in query.expressions)


@dataclass
class StatementLog:
    """The statements of a block that reach rows of users."""

    reached: list[Reach] = field(default_factory=list)

    @property
    def tables(self) -> set[str]:
        """The tables with rows of users that were named."""
        return {name for one in self.reached for name in one.tables}

    @property
    def unrouted(self) -> list[Reach]:
        """The statements that reach rows of any user."""
        return [one for one in self.reached if one.unrouted]


@contextmanager
def watching(alias: str, owned: Mapping[str, Owned] | None = None) -> Iterator[StatementLog]:
    """Watch the statements of a connection, those that are given to the driver itself too."""
    known, watched = owned_tables() if owned is None else owned, StatementLog()
    connection = connections[alias]

    is_inside = False  # a statement of Django, which the driver gets too

    def look(statement: Any, values: Any, *, is_streamed: bool = False) -> None:
        try:
            found = None if is_inside else reach(str(statement), values, connection.vendor, known)
        except Unrouted as problem:  # noted, because a view would make an answer of it
            found = Reach(str(statement), [str(problem)], is_bounded=False)
        if found is not None:
            found.is_bounded |= is_streamed
            watched.reached.append(found)

    def wrapper(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal is_inside
        for values in params if many else [params]:
            look(sql, values, is_streamed=isinstance(context["cursor"].cursor, ServerCursor))
        is_inside = True
        try:
            return execute(sql, params, many, context)
        finally:
            is_inside = False

    with ExitStack() as stack:
        if connection.vendor == "postgresql":
            connection.ensure_connection()
            stack.enter_context(_driver(connection.connection, look))
        stack.enter_context(connection.execute_wrapper(wrapper))
        yield watched


@contextmanager
def _driver(raw: Any, look: Callable[..., None]) -> Iterator[None]:
    """Watch the cursors of a psycopg connection that go past Django, and COPY."""

    class Looking:
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            look(query, params, is_streamed=isinstance(self, ServerCursor))
            return super().execute(query, params, **options)  # type: ignore[misc]

        def copy(self, statement: Any, params: Any = None, **options: Any) -> Any:
            look(statement, params, is_streamed=True)
            return super().copy(statement, params, **options)  # type: ignore[misc]

    own, server = raw.cursor_factory, raw.server_cursor_factory
    raw.cursor_factory = type("LookingCursor", (Looking, own), {})
    raw.server_cursor_factory = type("LookingServerCursor", (Looking, server), {})
    try:
        yield
    finally:
        raw.cursor_factory, raw.server_cursor_factory = own, server
