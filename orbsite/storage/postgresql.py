"""PostgreSQL's own way with many rows: binary COPY, straight into the table or beside it to be compared."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from psycopg import errors

from orbsite.storage.bulk import LEDGER, Bulk
from orbsite.storage.record import Id, Instant, R, Text
from orbsite.storage.rows import Row, column_of
from orbsite.storage.store import Standing

_PAGE = 5000
_UTC = "YYYY-MM-DD HH24:MI:SS.US"


class PostgresqlBulk(Bulk[R]):
    """Works on one table in PostgreSQL."""

    def __init__(self, model: type[Row], connection: Any) -> None:
        super().__init__(model, connection)
        ledger = [column_of(model, name) for name in LEDGER]
        self._types = [_type(field, connection) for field in (*self.cells.fields, *ledger)]

    def any_there(self, cells: Sequence[tuple[Any, ...]]) -> bool:
        given = ", ".join(["%s::text[]"] * len(self.keys))
        names = ", ".join(f"k{at}" for at in range(len(self.keys)))
        joined = " AND ".join(f"r.{name} = k.k{at}" for at, name in enumerate(self.keys))
        keys = [[row[at] for row in cells] for at in self.key_places]
        statement = f"SELECT EXISTS (SELECT 1 FROM unnest({given}) AS k({names}) JOIN {self.table} r ON {joined})"
        with self._cursor() as cursor:
            return bool(cursor.execute(statement, keys).fetchone()[0])

    def compared(self, cells: Sequence[tuple[Any, ...]]) -> Standing:
        names = ", ".join(self.names)
        missing = f"r.{self.keys[0]} IS NULL"
        with transaction.atomic(self.connection.alias), self._cursor() as cursor:
            cursor.execute(
                f"CREATE TEMP TABLE IF NOT EXISTS {self.stage} ON COMMIT DELETE ROWS "
                f"AS SELECT 0 AS place, {names} FROM {self.table} WITH NO DATA"
            )
            cursor.execute(f"TRUNCATE {self.stage}")
            width = len(self.names)
            rows = ((at, *row) for at, row in enumerate(cells))
            self._copy(cursor, f"pg_temp.{self.stage} (place, {names})", ["integer", *self._types[:width]], rows)
            free, other = cursor.execute(
                f"SELECT array_agg(place) FILTER (WHERE {missing}), array_agg(place) FILTER "
                f"(WHERE NOT {missing} AND ({self.differs('r', 's', 'IS DISTINCT FROM')})) "
                f"FROM {self.stage} s LEFT JOIN {self.table} r ON {self.joined('r', 's')}"
            ).fetchone()
        return Standing(free=free or [], other=other or [])

    def write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._cursor() as cursor:
            self._copy(cursor, f"{self.table} ({', '.join(self.all_names)})", self._types, rows)

    def is_taken(self, problem: IntegrityError) -> bool:
        return isinstance(problem.__cause__, errors.UniqueViolation)

    def read(self, run: int | None) -> Iterator[Sequence[Any]]:
        types = self.cells.types
        texts = [
            f"to_char({name} AT TIME ZONE 'UTC', '{_UTC}')"
            if types[at] == Instant
            else name
            if types[at] in (Text, Id)
            else f"{name}::text"
            for at, name in enumerate(self.names)
        ]
        where = "" if run is None else f" WHERE {self.run} = %s"
        statement = f"SELECT {', '.join(texts)} FROM {self.table}{where}"
        with transaction.atomic(self.connection.alias), self._cursor(name="orb_sums") as cursor:
            cursor.execute(statement, [] if run is None else [run])
            while page := cursor.fetchmany(_PAGE):  # the server keeps what was not fetched yet
                yield from page

    def loading(self, size: int) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002 -- servers have their own
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def _cursor(self, name: str = "") -> Iterator[Any]:
        """Yield a cursor beneath Django, which would keep all that it sends where DEBUG is on."""
        with self.connection.wrap_database_errors:
            self.connection.ensure_connection()
            with self.connection.connection.cursor(name) if name else self.connection.connection.cursor() as cursor:
                yield cursor

    def _copy(self, cursor: Any, target: str, types: list[str], rows: Any) -> None:
        with cursor.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)


def _type(field: Any, connection: Any) -> str:
    """Return the name of a column's type, without its length."""
    kind = str(field.db_type(connection)).partition("(")[0]
    return {"character varying": "varchar", "timestamp with time zone": "timestamptz"}.get(kind, kind)
