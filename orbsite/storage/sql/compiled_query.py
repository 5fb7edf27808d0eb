"""Page queries that are compiled to SQL once, because Django compiles them more slowly than a database runs them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from django.db import OperationalError, connections, models
from django.db.models.expressions import Expression
from django.db.models.functions import Cast, Coalesce

from orbsite.storage.records.record import columns
from orbsite.storage.records.sealed_columns import open_rows
from orbsite.storage.sql.filters import beyond
from orbsite.storage.sql.models import RecordRow, column_of
from orbsite.storage.sql.raw_columns import Cursor, be_lenient, bound, place_of, raw_columns, strict_text

if TYPE_CHECKING:
    _Rows: TypeAlias = models.QuerySet[Any]

_FEW = 2
"""The number of rows that may be in memory whatever their size."""
_LONG = (models.TextField, models.JSONField)
_MAX_COMPILED = 500
"""The number of compiled queries that are cached; a page may have a hundred sizes."""


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The table, the order and the page size of a query."""

    model: type[RecordRow]
    using: str
    names: tuple[str, ...]
    """The columns that order the rows; together they are unique."""
    oldest_first: bool
    size: int


class Octets(models.Func):
    """The size of a column's text in bytes, which PostgreSQL returns without reading the text."""

    function = "OCTET_LENGTH"
    output_field = models.BigIntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Return the SQLite expression, without OCTET_LENGTH, which older versions do not have."""
        return super().as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **context)


def memory_size_of(model: type[RecordRow]) -> Any:
    """Return the expression for the size in bytes of a row's long columns."""
    names = [name for name in columns(model.kind) if isinstance(column_of(model, name), _LONG)]
    sizes = [Coalesce(Octets(Cast(name, models.TextField())), 0) for name in names]
    return reduce(operator.add, sizes)


class QueryParameter(Expression):
    """A placeholder in a condition for a value that is bound at each execution."""

    def __init__(self, name: str | int, field: Any, place: str = "%s", *, is_raw: bool = False) -> None:
        super().__init__(output_field=field)
        self.name, self.place, self.is_raw = name, place, is_raw

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:  # noqa: ARG002 -- Django's signature
        """Return the SQL of a parameter, with this expression as its value."""
        return self.place, [self]


def rows_of(page: PageQuery, where: Mapping[str, Any], after: tuple[Any, ...] | None) -> _Rows:
    """Return the query for the first rows that meet the conditions and come after a cursor."""
    sign, direction = ("", "gt") if page.oldest_first else ("-", "lt")
    rows = page.model._base_manager.using(page.using).filter(**where).order_by(*(sign + name for name in page.names))
    return (rows if after is None else rows.filter(beyond(page.names, after, direction)))[: page.size]


def fitting(page: PageQuery, where: Mapping[str, Any], after: tuple[Any, ...] | None, max_bytes: int) -> int:
    """Return the number of rows of a page up to and including the row that exceeds `max_bytes`.

    It is at least 2, unless the page is smaller. If all rows fit, it is the size of the page.
    """
    if page.size <= _FEW:
        return page.size
    connection = connections[page.using]
    sql, parameters = _compiled_sizes(page, connection.vendor, tuple(where), _shape(after))
    sizes = (size for (size,) in _run(connection, sql, parameters, where, after))
    return _number_within(sizes, page.size, max_bytes)


def rows_within(rows: _Rows, most: int, max_bytes: int) -> int:
    """Return the number of rows, at most `most`, up to the row that exceeds `max_bytes`, as `fitting` for any query."""
    return _number_within(rows.values_list(memory_size_of(rows.model), flat=True)[:most], most, max_bytes)


def _number_within(sizes: Iterable[int], most: int, max_bytes: int) -> int:
    total = 0
    for number, size in enumerate(sizes, 1):
        total += size
        if total > max_bytes and number >= _FEW:
            return number
    return most


def fetch(page: PageQuery, where: Mapping[str, Any], after: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
    """Return the raw columns of the rows of `rows_of`, opened; `after` is a `Cursor`, or the `order` of a record."""
    return opened(page, _stored(page, where, after))


def opened(page: PageQuery, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return stored rows of a page with their sealed columns opened. Raises KeyUnavailable."""
    return cast("list[tuple[Any, ...]]", open_rows(page.model.kind, columns(page.model.kind), rows, page.using))


def fetch_within(
    page: PageQuery, where: Mapping[str, Any], after: tuple[Any, ...] | None, max_bytes: int
) -> list[tuple[Any, ...]] | None:
    """Return the rows of `fetch`, not opened, or None if they exceed `max_bytes`, or if a text is not UTF-8.

    No more is in memory than `max_bytes` and one row. In SQLite this takes one query, because SQLite reads a row only
    when it is asked for.
    """
    connection = connections[page.using]
    if connection.vendor != "sqlite":
        return _stored(page, where, after) if fitting(page, where, after, max_bytes) == page.size else None
    sql, parameters = _compiled(page, connection.vendor, tuple(where), _shape(after), with_size=True)
    rows, total = list[tuple[Any, ...]](), 0
    with connection.cursor() as cursor, strict_text(connection):
        cursor.execute(sql, _bound(parameters, where, after, connection))
        try:
            for row in cursor:
                total += row[-1]
                if total > max_bytes:
                    return None
                rows.append(row[:-1])
        except OperationalError:  # its message contains the text
            return None
    return rows


def _stored(page: PageQuery, where: Mapping[str, Any], after: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
    connection = connections[page.using]
    be_lenient(connection)
    sql, parameters = _compiled(page, connection.vendor, tuple(where), _shape(after))
    return _run(connection, sql, parameters, where, after)


def _shape(after: tuple[Any, ...] | None) -> tuple[str, ...] | None:
    """Return the SQL parameters of a row's cursor, an empty tuple for a record's cursor, and None without a cursor."""
    if after is None:
        return None
    return tuple(map(place_of, after)) if isinstance(after, Cursor) else ()


def _run(
    connection: Any, sql: str, parameters: tuple[Any, ...], where: Mapping[str, Any], after: tuple[Any, ...] | None
) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, _bound(parameters, where, after, connection))
        return list(cursor.fetchall())


def _bound(
    parameters: tuple[Any, ...], where: Mapping[str, Any], after: tuple[Any, ...] | None, connection: Any
) -> list[Any]:
    values: dict[Any, Any] = {**where, **dict(enumerate(after or ()))}
    return [_filled(parameter, values, connection) for parameter in parameters]


@lru_cache(maxsize=_MAX_COMPILED)
def _compiled(
    page: PageQuery,
    vendor: str,  # noqa: ARG001 -- part of the cache key: a test may give an alias to another database
    where: tuple[str, ...],
    after: tuple[str, ...] | None,
    *,
    with_size: bool = False,
) -> tuple[str, tuple[Any, ...]]:
    size = [memory_size_of(page.model)] if with_size else []
    rows = _with_parameters(page, where, after).values_list(*raw_columns(columns(page.model.kind)), *size)
    sql, parameters = rows.query.get_compiler(page.using).as_sql()
    return sql, tuple(parameters)


@lru_cache(maxsize=_MAX_COMPILED)
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
    conditions = {name: QueryParameter(name, column_of(page.model, name.partition("__")[0])) for name in where}
    return rows_of(page, conditions, None if after is None else tuple(_parameters(page, after)))


def _parameters(page: PageQuery, places: tuple[str, ...]) -> Iterator[QueryParameter]:
    """Yield the placeholders of a cursor: of a row, with these SQL parameters, or of a record if there are none."""
    for at, name in enumerate(page.names):
        field = column_of(page.model, name)
        yield QueryParameter(at, field, places[at], is_raw=True) if places else QueryParameter(at, field)


def _filled(parameter: Any, values: Mapping[Any, Any], connection: Any) -> Any:
    if not isinstance(parameter, QueryParameter):
        return parameter
    value = values[parameter.name]
    return bound(value) if parameter.is_raw else parameter.output_field.get_db_prep_value(value, connection, False)
