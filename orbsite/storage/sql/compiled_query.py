"""Pages of rows by queries that are compiled once: Django writes such SQL more slowly than a database answers it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db import connections, models
from django.db.models.expressions import Expression
from django.db.models.functions import Cast, Coalesce

from orbsite.storage.records.record import columns
from orbsite.storage.sql.filters import beyond
from orbsite.storage.sql.models import RecordRow, column_of
from orbsite.storage.sql.raw_columns import Cursor, be_lenient, bound, place_of, raw_columns

if TYPE_CHECKING:
    _Rows: TypeAlias = models.QuerySet[Any]

_FEW = 2
"""So many rows may be in memory, whatever they weigh."""
_LONG = (models.TextField, models.JSONField)
_MOST = 500
"""How many are kept; a page has a hundred lengths."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which rows, in which order, and how many at a time."""

    model: type[RecordRow]
    using: str
    names: tuple[str, ...]
    """The columns that they are ordered by, which together are unique."""
    oldest_first: bool
    size: int


class Octets(models.Func):
    """The bytes of a column's text, which PostgreSQL knows without reading it."""

    function = "OCTET_LENGTH"
    output_field = models.BigIntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Spell it for SQLite, of which older versions have no such function."""
        return super().as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **context)


def memory_size_of(model: type[RecordRow]) -> Any:
    """Return the expression for the bytes of what a row holds of its record."""
    names = [name for name in columns(model.kind) if isinstance(column_of(model, name), _LONG)]
    sizes = [Coalesce(Octets(Cast(name, models.TextField())), 0) for name in names]
    return reduce(operator.add, sizes)


class QueryParameter(Expression):
    """Stands in a condition for a value that comes later."""

    def __init__(self, name: str | int, field: Any, place: str = "%s", *, is_raw: bool = False) -> None:
        super().__init__(output_field=field)
        self.name, self.place, self.is_raw = name, place, is_raw

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:  # noqa: ARG002 -- Django's signature
        """Return the place of a parameter, with itself as the parameter."""
        return self.place, [self]


def rows_of(page: PageQuery, where: Mapping[str, Any], after: tuple[Any, ...] | None) -> _Rows:
    """Return the first rows that meet conditions and come after a cursor."""
    sign, direction = ("", "gt") if page.oldest_first else ("-", "lt")
    rows = page.model._base_manager.using(page.using).filter(**where).order_by(*(sign + name for name in page.names))
    return (rows if after is None else rows.filter(beyond(page.names, after, direction)))[: page.size]


def fitting(page: PageQuery, where: Mapping[str, Any], after: tuple[Any, ...] | None, max_bytes: int) -> int:
    """Return a size for the page at which its rows have no more bytes than this, one that exceeds them aside.

    Where all its rows fit, that is its own size.
    """
    if page.size <= _FEW:
        return page.size
    connection = connections[page.using]
    sql, parameters = _compiled_sizes(page, connection.vendor, tuple(where), _shape(after))
    sizes = (size for (size,) in _asked(connection, sql, parameters, where, after))
    return _number_within(sizes, page.size, max_bytes)


def rows_within(rows: _Rows, most: int, max_bytes: int) -> int:
    """Return the same for the first rows of a query of its own."""
    return _number_within(rows.values_list(memory_size_of(rows.model), flat=True)[:most], most, max_bytes)


def _number_within(sizes: Iterable[int], most: int, max_bytes: int) -> int:
    total = 0
    for number, size in enumerate(sizes, 1):
        total += size
        if total > max_bytes and number >= _FEW:
            return number
    return most


def fetch(page: PageQuery, where: Mapping[str, Any], after: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
    """Return the columns of the same rows, as the database has them; `after` is a `Cursor`, or of a record."""
    connection = connections[page.using]
    be_lenient(connection)
    sql, parameters = _compiled(page, connection.vendor, tuple(where), _shape(after))
    return _asked(connection, sql, parameters, where, after)


def _shape(after: tuple[Any, ...] | None) -> tuple[str, ...] | None:
    """Return the places of the values of a row's cursor; of a record's none, and None where there is no cursor."""
    if after is None:
        return None
    return tuple(map(place_of, after)) if isinstance(after, Cursor) else ()


def _asked(
    connection: Any, sql: str, parameters: tuple[Any, ...], where: Mapping[str, Any], after: tuple[Any, ...] | None
) -> list[tuple[Any, ...]]:
    values: dict[Any, Any] = {**where, **dict(enumerate(after or ()))}
    with connection.cursor() as cursor:
        cursor.execute(sql, [_filled(one, values, connection) for one in parameters])
        return list(cursor.fetchall())


@lru_cache(maxsize=_MOST)
def _compiled(
    page: PageQuery,
    vendor: str,  # noqa: ARG001 -- a test may give an alias to another database
    where: tuple[str, ...],
    after: tuple[str, ...] | None,
) -> tuple[str, tuple[Any, ...]]:
    rows = _with_parameters(page, where, after).values_list(*raw_columns(columns(page.model.kind)))
    sql, parameters = rows.query.get_compiler(page.using).as_sql()
    return sql, tuple(parameters)


@lru_cache(maxsize=_MOST)
def _compiled_sizes(
    page: PageQuery,
    vendor: str,  # noqa: ARG001 -- as above
    where: tuple[str, ...],
    after: tuple[str, ...] | None,
) -> tuple[str, tuple[Any, ...]]:
    rows = _with_parameters(page, where, after).values_list(memory_size_of(page.model))
    sql, parameters = rows.query.get_compiler(page.using).as_sql()
    return sql, tuple(parameters)


def _with_parameters(page: PageQuery, where: tuple[str, ...], after: tuple[str, ...] | None) -> _Rows:
    asked = {name: QueryParameter(name, column_of(page.model, name.partition("__")[0])) for name in where}
    return rows_of(page, asked, None if after is None else tuple(_parameters(page, after)))


def _parameters(page: PageQuery, places: tuple[str, ...]) -> Iterator[QueryParameter]:
    """Yield what stands for a cursor: of a row, whose values have these places, or of a record."""
    for at, name in enumerate(page.names):
        field = column_of(page.model, name)
        yield QueryParameter(at, field, places[at], is_raw=True) if places else QueryParameter(at, field)


def _filled(parameter: Any, values: Mapping[Any, Any], connection: Any) -> Any:
    if not isinstance(parameter, QueryParameter):
        return parameter
    value = values[parameter.name]
    return bound(value) if parameter.is_raw else parameter.output_field.get_db_prep_value(value, connection, False)
