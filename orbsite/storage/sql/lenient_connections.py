"""Connections that return a cell which Python has no value for as text: one bad cell hides no other row."""

from __future__ import annotations

from typing import Any

from psycopg import DataError
from psycopg.postgres import types
from psycopg.pq import Format

from orbsite.storage.sql.raw_columns import be_lenient

_INSTANTS = ("timestamptz",)


def be_lenient_from_now_on(connection: Any, **_: Any) -> None:
    """Teach a new connection; a receiver of Django's `connection_created`."""
    if connection.vendor == "postgresql":
        _load_instants_leniently(connection.connection.adapters)
    else:
        be_lenient(connection)


def _load_instants_leniently(adapters: Any) -> None:
    for name in _INSTANTS:
        strict: Any = adapters.get_loader(types[name].oid, Format.TEXT)

        class Lenient(strict):  # type: ignore[misc]  # Django makes one for each time zone
            """Loads instants; `infinity`, years before 1 and after 9999 as text."""

            def load(self, data: Any) -> Any:
                """Return an instant, or text."""
                try:
                    return super().load(data)
                except DataError:
                    return bytes(data).decode()

        adapters.register_loader(name, Lenient)
