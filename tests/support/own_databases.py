"""Databases and roles with names of their own, on the server that all workers of a run share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from django.db import connections
from psycopg import sql


@contextmanager
def own_database(options: str = "") -> Iterator[str]:
    """Make an empty database, remove it in the end, and yield its address as `postgresql://user@:port/name?host=…`."""
    name = own_name("orb_own")
    settings = connections["postgresql"].settings_dict
    address = "postgresql://{USER}@:{PORT}/{name}?host={HOST}"
    statement = sql.SQL("CREATE DATABASE {} " + options).format(sql.Identifier(name))
    with psycopg.connect(address.format(**settings, name="postgres"), autocommit=True) as admin:
        admin.execute(statement)
        try:
            yield address.format(**settings, name=name)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def own_name(prefix: str) -> str:
    """Return a name that no other test has."""
    return f"{prefix}_{uuid4().hex[:12]}"
