"""Pages of rows by queries that are compiled once: Django writes such SQL more slowly than a database answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db import connections, models
from django.db.models.expressions import Expression

from orbsite.storage.conditions import beyond
from orbsite.storage.record import columns
from orbsite.storage.rows import Row, column_of

if TYPE_CHECKING:
    _Rows: TypeAlias = models.QuerySet[Any]

_MOST = 500
"""How many are kept; a page has a hundred lengths."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows, in which order, and how many at a time."""

    model: type[Row]
    using: str
    names: tuple[str, ...]
    """The columns that they are ordered by, which together are unique."""
    oldest_first: bool
    size: int


class Hole(Expression):
    """Stands in a condition for a value that comes later."""

    def __init__(self, name: str | int, field: Any) -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:  # noqa: ARG002 -- Django's signature
        """Return the place of a parameter, with itself as the parameter."""
        return "%s", [self]


def rows_of(page: Page, where: Mapping[str, Any], after: tuple[Any, ...] | None) -> _Rows:
    """Return the first rows that meet conditions and come after a cursor."""
    sign, direction = ("", "gt") if page.oldest_first else ("-", "lt")
    rows = page.model._base_manager.using(page.using).filter(**where).order_by(*(sign + name for name in page.names))
    return (rows if after is None else rows.filter(beyond(page.names, after, direction)))[: page.size]


def fetch(page: Page, where: Mapping[str, Any], after: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
    """Return the columns of the same rows, as the driver returns them."""
    connection = connections[page.using]
    sql, parameters = _compiled(page, connection.vendor, tuple(where), after is not None)
    values: dict[Any, Any] = {**where, **dict(enumerate(after or ()))}
    with connection.cursor() as cursor:
        cursor.execute(sql, [_filled(one, values, connection) for one in parameters])
        return list(cursor.fetchall())


@lru_cache(maxsize=_MOST)
def _compiled(
    page: Page,
    vendor: str,  # noqa: ARG001 -- a test may give an alias to another database
    where: tuple[str, ...],
    goes_on: bool,
) -> tuple[str, tuple[Any, ...]]:
    asked = {name: Hole(name, column_of(page.model, name.partition("__")[0])) for name in where}
    after = tuple(Hole(at, column_of(page.model, name)) for at, name in enumerate(page.names)) if goes_on else None
    rows = rows_of(page, asked, after).values_list(*columns(page.model.kind))
    sql, parameters = rows.query.get_compiler(page.using).as_sql()
    return sql, tuple(parameters)


def _filled(parameter: Any, values: Mapping[Any, Any], connection: Any) -> Any:
    if not isinstance(parameter, Hole):
        return parameter
    return parameter.output_field.get_db_prep_value(values[parameter.name], connection, prepared=False)
