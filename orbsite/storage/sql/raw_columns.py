"""Raw columns: values without the converters of drivers and of Django, so that no stored value can raise an error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import connections, models
from django.db.models import F, Func, TextField
from django.db.models.expressions import Expression

from orbsite.runtime.sqlite.text import lenient_text, prepare
from orbsite.storage.records.sealed_columns import open_rows
from orbsite.storage.sql.filters import Condition

_AS_TEXT = ("DateTimeField", "JSONField")


class RawColumn(Func):
    """The raw value of a column: text for times and JSON, and the stored value for other types.

    SQLite may store text, a number, a BLOB or NULL in any column, and returns `str`, `int` or `float`, `bytes` or None.
    Text that is not UTF-8 is returned with lone surrogates (see `be_lenient`). PostgreSQL's `infinity` and years that
    Python does not support are text too.
    """

    template = "%(expressions)s"
    arity = 1
    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Return an SQLite expression without a declared type, so that sqlite3 does not convert its value."""
        return self.as_sql(compiler, connection, template="+%(expressions)s", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Return a PostgreSQL expression that casts times and JSON to text, which psycopg can always load."""
        field: Any = self.source_expressions[0].output_field
        template = "(%(expressions)s)::text" if field.get_internal_type() in _AS_TEXT else self.template
        return self.as_sql(compiler, connection, template=template, **context)


_PLAIN = "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]"


class IsPlainInstant(Condition):
    """The condition that a column holds a valid time in a format that the database can compare."""

    arity = 1

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the SQLite condition: the time has Django's format, and its date exists."""
        sql, _ = compiler.compile(self.source_expressions[0])  # a column's SQL has no parameters
        ours = f"({sql} GLOB '{_PLAIN}' OR {sql} GLOB '{_PLAIN}.{'[0-9]' * 6}')"
        is_day = f"date(substr({sql}, 1, 10), '+0 days') = substr({sql}, 1, 10) AND substr({sql}, 12, 2) < '24'"
        return f"(typeof({sql}) = 'text' AND {ours} AND {is_day} AND {sql} >= '0001')", []

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        """Return the PostgreSQL condition: the time is in the years 1 to 9999, and not infinite."""
        return self.as_sql(
            compiler,
            connection,
            template="%(expressions)s BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'",
        )


class RawValue(Expression):
    """A value from `RawColumn` for a comparison with its column; it is bound without conversion."""

    def __init__(self, value: Any, field: Any) -> None:
        super().__init__(output_field=field)
        self.value = value

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:  # noqa: ARG002 -- Django's signature
        """Return the SQL of a parameter, and the value for it."""
        return place_of(self.value), [bound(self.value)]


class Cursor(tuple[Any, ...]):
    """A keyset cursor with the raw values of the columns that order the rows."""

    __slots__ = ()


def raw_columns(names: Iterable[str]) -> list[RawColumn]:
    """Return the expressions for `values_list` that select these columns raw."""
    return [RawColumn(F(name)) for name in names]


def raw_rows(rows: models.QuerySet[Any], names: Sequence[str]) -> Any:
    """Return a query for the raw values of columns; makes the connection lenient."""
    be_lenient(connections[rows.db])
    return rows.values_list(*raw_columns(names))


def named_rows(rows: models.QuerySet[Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the raw values of columns by name; those that are sealed are opened, and need the columns of the key."""
    cells = open_rows(rows.model.kind, names, list(raw_rows(rows, names)), rows.db)
    return (dict(zip(names, row, strict=True)) for row in cells)


def be_lenient(connection: Any) -> None:
    """Make a connection to SQLite return text that is not UTF-8; sqlite3's own error would contain the text."""
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        if connection.connection.text_factory is not lenient_text:
            prepare(connection.connection)


@contextlib.contextmanager
def strict_text(connection: Any) -> Iterator[None]:
    """Read text from SQLite faster; text that is not UTF-8 raises OperationalError, whose message contains the text."""
    be_lenient(connection)
    connection.connection.text_factory = str
    try:
        yield
    finally:
        connection.connection.text_factory = lenient_text


def is_escaped(value: Any) -> bool:
    """Tell whether a text from `lenient_text` contains bytes that are not UTF-8, as lone surrogates."""
    return isinstance(value, str) and not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value)


def place_of(value: Any) -> str:
    """Return the SQL of a parameter for a raw value."""
    return "CAST(%s AS TEXT)" if is_escaped(value) else "%s"


def bound(value: Any) -> Any:
    """Return the value to bind for a raw value: bytes for text that is not UTF-8."""
    return value.encode("utf-8", "surrogateescape") if is_escaped(value) else value
