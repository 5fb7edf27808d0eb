"""Columns as the database has them: no converter of a driver or of Django comes between, so that no cell can raise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connections, models
from django.db.models import BooleanField, F, Func, TextField
from django.db.models.expressions import Expression

from orbsite.runtime.sqlite.text import lenient_text, prepare

_AS_TEXT = ("DateTimeField", "JSONField")


class RawColumn(Func):
    """The value of a column: text for instants and JSON, else what is stored.

    SQLite may store text, a number, a BLOB or nothing in any column, and returns it as `str`, `int` or `float`, `bytes`
    or None; text that is no UTF-8 holds lone surrogates (see `be_lenient`). PostgreSQL's `infinity` and years that
    Python does not know are text as any other.
    """

    template = "%(expressions)s"
    arity = 1
    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Return an expression, of which sqlite3 knows no declared type to convert it by."""
        return self.as_sql(compiler, connection, template="+%(expressions)s", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Have the server print what psycopg would refuse to load."""
        field: Any = self.source_expressions[0].output_field
        template = "(%(expressions)s)::text" if field.get_internal_type() in _AS_TEXT else self.template
        return self.as_sql(compiler, connection, template=template, **context)


_PLAIN = "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]"


class IsPlainInstant(Func):
    """The condition that a column holds an instant of the calendar, spelled so that the database can compare it."""

    arity = 1
    output_field = BooleanField()

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Hold where it is spelled as Django does, and SQLite's own calendar has that day."""
        sql, _ = compiler.compile(self.source_expressions[0])  # a column, which has no parameters
        ours = f"({sql} GLOB '{_PLAIN}' OR {sql} GLOB '{_PLAIN}.{'[0-9]' * 6}')"
        is_day = f"date(substr({sql}, 1, 10), '+0 days') = substr({sql}, 1, 10) AND substr({sql}, 12, 2) < '24'"
        return f"(typeof({sql}) = 'text' AND {ours} AND {is_day} AND {sql} >= '0001')", []

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        """Leave out infinity, and the years that Python does not know."""
        return self.as_sql(
            compiler,
            connection,
            template="%(expressions)s BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'",
        )


class RawValue(Expression):
    """A value that `RawColumn` returned, to compare its column with: it is bound as the database has it."""

    def __init__(self, value: Any, field: Any) -> None:
        super().__init__(output_field=field)
        self.value = value

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:  # noqa: ARG002 -- Django's signature
        """Return the place of a parameter, and the value."""
        return place_of(self.value), [bound(self.value)]


class Cursor(tuple[Any, ...]):
    """The values of the columns that rows are ordered by, as the database has them: the place of a row."""

    __slots__ = ()


def raw_columns(names: Iterable[str]) -> list[RawColumn]:
    """Return what `values_list` takes to return these columns as the database has them."""
    return [RawColumn(F(name)) for name in names]


def raw_rows(rows: models.QuerySet[Any], names: Sequence[str]) -> Any:
    """Return the columns of rows, as the database has them."""
    be_lenient(connections[rows.db])
    return rows.values_list(*raw_columns(names))


def be_lenient(connection: Any) -> None:
    """Let a connection return text that is no UTF-8, where sqlite3 would raise an error that shows the text."""
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        if connection.connection.text_factory is not lenient_text:
            prepare(connection.connection)


def is_escaped(value: Any) -> bool:
    """Tell whether a text holds bytes that are no UTF-8."""
    return isinstance(value, str) and not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value)


def place_of(value: Any) -> str:
    """Return the SQL for a parameter with this value."""
    return "CAST(%s AS TEXT)" if is_escaped(value) else "%s"


def bound(value: Any) -> Any:
    """Return the parameter for a value."""
    return value.encode("utf-8", "surrogateescape") if is_escaped(value) else value
