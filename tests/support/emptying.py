"""Databases are emptied after tests that commit: only tables that have rows, and not those that Django fills itself.

Django's own way empties all tables, and makes the permissions of all models again, which takes longer than most tests.
"""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.db import DatabaseError, connections, transaction
from django.test import TransactionTestCase

_FILLED = ("django_content_type", "auth_permission", "auth_group", "auth_group_permissions")
"""The tables that Django and our migrations fill."""
_known: dict[tuple[str, Any], tuple[list[str], dict[str, Any]]] = {}
"""The tables to empty, and the contents of those that are filled, by alias and database."""


def install() -> None:
    """Let Django's tests empty databases in this way."""
    TransactionTestCase._fixture_teardown = _empty_all


def remember(alias: str) -> None:
    """Remember what a database holds before the first test."""
    connection = connections[alias]
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    filled = {name: _contents(connection, name) for name in _FILLED if name in names}
    others = [name for name in names if name not in filled and name != "django_migrations"]
    _known[alias, connection.settings_dict["NAME"]] = others, filled


def _empty_all(case: Any) -> None:
    for alias in case._databases_names(include_mirrors=False):
        if not _empty(alias):
            call_command("flush", verbosity=0, interactive=False, database=alias, reset_sequences=False)
            if (alias, connections[alias].settings_dict["NAME"]) in _known:
                remember(alias)


def _empty(alias: str) -> bool:
    """Empty a database; return whether that was sufficient, because the filled tables are as they were."""
    connection = connections[alias]
    tables, filled = _known.get((alias, connection.settings_dict["NAME"]), ([], {}))
    if not filled:
        return False
    names = {table: connection.ops.quote_name(table) for table in tables}
    parts = (f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {name})" for table, name in names.items())
    try:
        with transaction.atomic(alias), connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts))
            for (table,) in cursor.fetchall():
                cursor.execute(f"DELETE FROM {names[table]}")
    except DatabaseError:  # a table is not there any more
        return False
    return all(_contents(connection, table) == contents for table, contents in filled.items())


def _contents(connection: Any, table: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)} ORDER BY 1")
        return cursor.fetchall()
