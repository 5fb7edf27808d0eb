"""System checks of connections to PostgreSQL, run by `manage.py check --database`: poolers and read replicas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core.checks import WARNING, CheckMessage, Error, Tags, register
from django.db import DatabaseError, connections, transaction

from orbsite.storage.database_errors import explained
from orbsite.storage.postgresql.replicas import replicas_of
from orbsite.storage.postgresql.session import DIRECT, direct_connection, pools_transactions

_LIMITS = {"lock_timeout": "10s", "idle_in_transaction_session_timeout": "10min"}
"""The limits for waiting that a pooled connection cannot set itself, with the values of other connections."""
_IDENTITY = "SELECT pg_postmaster_start_time(), current_database()"
"""What is the same over every address of a database, and differs in its standbys and in all others."""

_CLUSTER = "SELECT system_identifier, current_database(), pg_is_in_recovery() FROM pg_control_system()"


@register(Tags.database)
def check_pooler(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Check that transactions reach each PostgreSQL database, and that runs and backups get sessions of their own."""
    of_postgresql = [alias for alias in databases or () if connections[alias].vendor == "postgresql"]
    return [message for alias in of_postgresql for message in _of(alias)]


@register(Tags.database)
def check_replicas(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Check that the read replicas of each database are standbys of it."""
    return [
        message
        for alias in databases or ()
        for replica in replicas_of(alias)
        for message in _of_replica(alias, replica)
    ]


def _of_replica(alias: str, replica: str) -> Iterator[CheckMessage]:
    try:
        *cluster, is_standby = _row(connections[replica], _CLUSTER)
    except DatabaseError as problem:
        yield CheckMessage(
            WARNING,
            explained(problem, replica).replace("DATABASE_URL", "DATABASE_REPLICA_URLS"),
            hint="Reads go to the primary until the replica responds.",
            id="orb.W006",
        )
        return
    if cluster != list(_row(connections[alias], _CLUSTER)[:-1]):
        yield Error(
            f"{replica!r} is no replica of the database {alias!r}: it is of another server, or another database of it",
            hint="Set DATABASE_REPLICA_URLS to addresses of standbys of the server in DATABASE_URL, with its database.",
            id="orb.E027",
        )
    elif not is_standby:
        yield Error(
            f"the replica {replica!r} is a primary: it was promoted, or is the server in DATABASE_URL itself",
            hint="Stop the server that is not to be the primary; then set DATABASE_URL and DATABASE_REPLICA_URLS.",
            id="orb.E028",
        )


def _of(alias: str) -> Iterator[CheckMessage]:
    connection: Any = connections[alias]
    try:
        with transaction.atomic(alias), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as problem:
        yield Error(explained(problem, alias), id="orb.E023")
        return
    if DIRECT not in connection.settings_dict:
        if pools_transactions(connection):
            yield Error(
                f"the database {alias!r} is reached through a connection pooler that pools transactions",
                hint="Set DATABASE_DIRECT_URL to an address without the pooler, which runs and backups use.",
                id="orb.E022",
            )
        return
    yield from _of_pooled(connection)
    yield from _of_direct(connection)


def _of_pooled(connection: Any) -> Iterator[CheckMessage]:
    options, alias = connection.settings_dict["OPTIONS"], connection.alias
    if not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        yield Error(
            f"the pooled database {alias!r} uses cursors of a session",
            hint="Set DISABLE_SERVER_SIDE_CURSORS in DATABASES, or leave disable_server_side_cursors out of the URL.",
            id="orb.E025",
        )
    if options.get("prepare_threshold") is not None:
        yield Error(
            f"the pooled database {alias!r} has prepare_threshold, and prepared statements belong to a session",
            hint="Leave prepare_threshold out of OPTIONS and of the query string of DATABASE_URL.",
            id="orb.E026",
        )
    unset = {name: value for name, value in _LIMITS.items() if _shown(connection, name) == "0"}
    if unset:
        role = connection.ops.quote_name(connection.settings_dict["USER"])
        statements = " ".join(f"ALTER ROLE {role} SET {name} = '{value}';" for name, value in unset.items())
        yield CheckMessage(
            WARNING,
            f"pooled connections to the database {alias!r} may wait without end: {', '.join(unset)} is not set",
            hint=f"Run in the database: {statements}",
            id="orb.W007",
        )


def _of_direct(connection: Any) -> Iterator[CheckMessage]:
    direct = direct_connection(connection)
    try:
        if pools_transactions(direct):
            yield Error(
                f"DATABASE_DIRECT_URL of {connection.alias!r} leads through a pooler that pools transactions",
                hint="Set it to the address of the server itself, or of a pool with pool_mode=session.",
                id="orb.E022",
            )
        if _row(direct, _IDENTITY) != _row(connection, _IDENTITY):
            yield Error(
                f"DATABASE_DIRECT_URL of {connection.alias!r} leads to another database, or to a standby",
                hint="Set it to an address of the database that DATABASE_URL leads to.",
                id="orb.E024",
            )
    except DatabaseError as problem:
        message = explained(problem, connection.alias).replace("DATABASE_URL", "DATABASE_DIRECT_URL")
        yield Error(message, id="orb.E024")
    finally:
        direct.close()


def _shown(connection: Any, name: str) -> str:
    return str(_row(connection, f"SHOW {name}")[0])


def _row(connection: Any, statement: str) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return tuple(cursor.fetchone())
