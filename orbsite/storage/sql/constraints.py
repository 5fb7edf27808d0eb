"""Check constraints that repeat the records' rules, so that the admin, the shell and raw SQL obey them too."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Length
from django.db.models.lookups import Exact, GreaterThan, In, LessThanOrEqual

ID_LENGTH = 255


class JsonType(Func):
    """The type of a JSON column: 'array' is spelled alike on both databases."""

    function = "JSONB_TYPEOF"
    output_field = models.CharField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """SQLite's own function, so that its shell can check the constraint too."""
        return self.as_sql(compiler, connection, function="JSON_TYPE", **context)


class NulPosition(Func):
    """Where SQLite finds a NUL in a text; 0 is nowhere."""

    template = "INSTR(%(expressions)s, CHAR(0))"
    output_field = models.IntegerField()


class SQLiteCheck(models.CheckConstraint):
    """A check for SQLite alone: PostgreSQL refuses a NUL by itself, and would refuse every row for this check."""

    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        """Return SQL on SQLite."""
        return super().constraint_sql(model, schema_editor) if schema_editor.connection.vendor == "sqlite" else None

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        """Return SQL on SQLite."""
        return super().create_sql(model, schema_editor) if schema_editor.connection.vendor == "sqlite" else None

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        """Return SQL on SQLite."""
        return super().remove_sql(model, schema_editor) if schema_editor.connection.vendor == "sqlite" else None

    def validate(self, *args: Any, **options: Any) -> None:
        """Leave validation to the record, whose rule this is."""


def id_rules(table: str, *names: str) -> list[models.BaseConstraint]:
    """Return checks that ids have 1 to 255 characters, none of them NUL."""
    lengths = [
        models.CheckConstraint(
            name=f"{table}_{name}_length",
            condition=Q(GreaterThan(Length(F(name)), 0)) & Q(LessThanOrEqual(Length(F(name)), ID_LENGTH)),
        )
        for name in names
    ]
    return [*lengths, *text_rules(table, *names)]


def text_rules(table: str, *names: str) -> list[models.BaseConstraint]:
    """Return checks that texts hold no NUL."""
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
