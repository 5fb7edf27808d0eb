"""Connections that return a value that Python cannot represent as text, so that one bad value hides no other row."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from orbsite.storage.sql.raw_columns import be_lenient

_INSTANTS = ("timestamptz",)


def be_lenient_from_now_on(connection: Any, **_: Any) -> None:
    """Make a new connection lenient; a receiver of Django's `connection_created` signal."""
    if connection.vendor == "postgresql":
        _load_instants_leniently(connection.connection.adapters)
    else:
        be_lenient(connection)


def _load_instants_leniently(adapters: Any) -> None:
    from psycopg import DataError  # an extra, which is there if a connection to PostgreSQL is
    from psycopg.postgres import types
    from psycopg.pq import Format

    for name in _INSTANTS:
        strict: Any = adapters.get_loader(types[name].oid, Format.TEXT)

        class Lenient(strict):  # type: ignore[misc]  # Django creates a loader for each time zone
            """Loads times; `infinity` and years before 1 or after 9999 are returned as text."""

            @override
            def load(self, data: Any) -> Any:
                try:
                    return super().load(data)
                except DataError:
                    return bytes(data).decode()

        adapters.register_loader(name, Lenient)
