"""What `manage.py check` finds out about this project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from orbsite import conf
from orbsite.storage.domain import registered
from orbsite.storage.rows import columns


@register("orb")
def check_columns(**_: Any) -> list[CheckMessage]:
    """Each record's fields are the fields of its table."""
    return [
        Error(
            f"the table {model._meta.db_table} lacks a column for {', '.join(sorted(missing))} of {kind.__name__}",
            hint="Give the model the fields of its record.",
            id="orb.E001",
        )
        for domain in registered()
        for kind, model in domain.models.items()
        if (missing := set(columns(kind)) - {field.name for field in model._meta.get_fields()})
    ]


@register("orb")
def check_persistence(**_: Any) -> list[CheckMessage]:
    """ORB_PERSISTENCE names a store."""
    try:
        conf.persistence()
    except ImproperlyConfigured as problem:
        return [Error(str(problem), id="orb.E002")]
    return []


@register(Tags.database)
def check_origin(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """No database in use is one that the earlier system made."""
    return [
        Error(
            f"the database {alias!r} has a table {table} that the earlier system made",
            hint="Let DATABASE_URL name a new one, run migrate, and take this one over by import_orb_database URL.",
            id="orb.E003",
        )
        for alias in databases or ()
        for table in _tables_of_the_earlier_system(alias)
    ]


def _tables_of_the_earlier_system(alias: str) -> list[str]:
    connection = connections[alias]
    ours = {model._meta.db_table for domain in registered() for model in domain.models.values()}
    with connection.cursor() as cursor:
        there = sorted(ours & set(connection.introspection.table_names(cursor)))
        columns = {table: connection.introspection.get_table_description(cursor, table) for table in there}
    return [table for table, found in columns.items() if "digest" not in {column.name for column in found}]
