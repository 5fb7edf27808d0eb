"""Check constraints for the records' rules, so that the database enforces them for raw SQL and other programs too."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact, GreaterThan, In, LessThanOrEqual
from typing_extensions import override

ID_LENGTH = 255


class JsonType(Func):
    """The type of a JSON column's value; 'array' and 'object' are the same on both databases."""

    function = "JSONB_TYPEOF"
    output_field = models.CharField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Return SQLite's built-in function, so that its shell can check the constraint too."""
        return self.as_sql(compiler, connection, function="JSON_TYPE", **context)


class NulPosition(Func):
    """The position of the first NUL in a text in SQLite, 0 if there is none."""

    template = "INSTR(%(expressions)s, CHAR(0))"
    output_field = models.IntegerField()


class SQLiteCheck(models.CheckConstraint):
    """A check constraint only for SQLite. PostgreSQL rejects NULs itself, and would reject every row by this check."""

    @override
    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        return super().constraint_sql(model, schema_editor) if schema_editor.connection.vendor == "sqlite" else None

    @override
    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        return super().create_sql(model, schema_editor) if schema_editor.connection.vendor == "sqlite" else None

    @override
    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        return super().remove_sql(model, schema_editor) if schema_editor.connection.vendor == "sqlite" else None

    @override
    def validate(self, *args: Any, **options: Any) -> None:
        """Do nothing: the record validates this rule."""


def id_rules(table: str, *names: str) -> list[models.BaseConstraint]:
    """Return checks that id columns have 1 to 255 characters and no NUL."""
    lengths = [
        models.CheckConstraint(
            name=f"{table}_{name}_length",
            condition=Q(GreaterThan(Length(F(name)), 0)) & Q(LessThanOrEqual(Length(F(name)), ID_LENGTH)),
        )
        for name in names
    ]
    return [*lengths, *text_rules(table, *names)]


def text_rules(table: str, *names: str) -> list[models.BaseConstraint]:
    """Return checks that text columns have no NUL."""
    return [SQLiteCheck(name=f"{table}_{name}_no_nul", condition=Q(Exact(NulPosition(F(name)), 0))) for name in names]


def list_rules(table: str, *names: str) -> list[models.BaseConstraint]:
    """Return checks that JSON columns hold lists."""
    return [
        models.CheckConstraint(name=f"{table}_{name}_list", condition=Q(Exact(JsonType(F(name)), "array")))
        for name in names
    ]


def list_or_object_rules(table: str, *names: str) -> list[models.BaseConstraint]:
    """Return checks that JSON columns hold lists or objects."""
    return [
        models.CheckConstraint(
            name=f"{table}_{name}_list_or_object", condition=Q(In(JsonType(F(name)), ["array", "object"]))
        )
        for name in names
    ]
