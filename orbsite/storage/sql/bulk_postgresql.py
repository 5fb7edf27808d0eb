"""Bulk operations in PostgreSQL by COPY, into the table, or into a temporary table for a comparison."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import IntegrityError, InternalError, models, transaction

from orbsite.storage.base.store import Comparison, RecordBatch
from orbsite.storage.postgresql.session import DIRECT
from orbsite.storage.records.digest import Columns
from orbsite.storage.records.record import Id, Instant, R, Text
from orbsite.storage.sql.bulk import Bulk, PageSize

_PAGE = 5000
_UNIQUE_VIOLATION = "23505"
"""The SQLSTATE of a key that is taken."""
_BLOCK = 500
_NULL = r"\N"
_SIGNS = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
_FIRST, _LAST = "'0001-01-01 00:00:00+00'", "'9999-12-31 23:59:59.999999+00'"
_UTC = "YYYY-MM-DD HH24:MI:SS.US"


class PostgresqlBulk(Bulk[R]):
    """Bulk operations on one table in PostgreSQL."""

    def made(self, columns: Columns) -> Sequence[Any]:
        return list(map("\t".join, zip(*map(_escaped, self.cells.by_column(columns)), strict=True)))

    def rows(self, batch: RecordBatch, run: int | None) -> Sequence[Any]:
        ledger, by = zip(batch.cells, batch.digests, batch.positions, strict=True), _NULL if run is None else run
        return [
            f"{cells}\t{digest}\t{by}\t{_NULL if position is None else position}\n"
            for cells, digest, position in ledger
        ]

    def compared(self, cells: Sequence[Any]) -> Comparison:
        names, stage = ", ".join(self.names), self.connection.ops.quote_name(f"stage_{self.model._meta.db_table}")
        missing = f"r.{self.keys[0]} IS NULL"
        with transaction.atomic(self.connection.alias), self._cursor() as cursor:
            cursor.execute(
                f"CREATE TEMP TABLE IF NOT EXISTS {stage} ON COMMIT {self._at_commit()} "
                f"AS SELECT 0 AS place, {names} FROM {self.table} WITH NO DATA"
            )
            cursor.execute(f"TRUNCATE {stage}")
            rows = [f"{at}\t{row}\n" for at, row in enumerate(cells)]
            self._copy(cursor, f"pg_temp.{stage} (place, {names})", rows)
            free, other = cursor.execute(
                f"SELECT array_agg(place) FILTER (WHERE {missing}), array_agg(place) FILTER "
                f"(WHERE NOT {missing} AND ({self._differs('r', 's', 'IS DISTINCT FROM')})) "
                f"FROM {stage} s LEFT JOIN {self.table} r ON {self._joined('r', 's')}"
            ).fetchone()
        return Comparison(free=free or [], other=other or [])

    def _at_commit(self) -> str:
        """Return what a commit does to the temporary table: a pooler may give its session to another program."""
        return "DROP" if DIRECT in self.connection.settings_dict else "DELETE ROWS"

    def _differs(self, ours: str, theirs: str, sign: str) -> str:
        """Return the SQL condition that two rows differ in a column outside the key."""
        rest = [name for name in self.names if name not in self.keys]
        return " OR ".join(f"{ours}.{name} {sign} {theirs}.{name}" for name in rest)

    def _joined(self, ours: str, theirs: str) -> str:
        """Return the SQL condition that two rows have the same key."""
        return " AND ".join(f"{ours}.{name} = {theirs}.{name}" for name in self.keys)

    def write(self, rows: Sequence[Any]) -> None:
        with self._cursor() as cursor:
            self._copy(cursor, f"{self.table} ({', '.join(self.all_names)})", rows)

    def is_taken(self, problem: IntegrityError | InternalError) -> bool:
        if isinstance(problem, IntegrityError):
            return getattr(problem.__cause__, "sqlstate", None) == _UNIQUE_VIOLATION
        # of a COPY to another node, only the message comes back; it names the constraint, with the number of the shard
        keys = [one.name for one in self.model._meta.constraints if isinstance(one, models.UniqueConstraint)]
        return any(f"{name}_" in str(problem) for name in (*keys, f"{self.model._meta.db_table}_pkey"))

    def read(self, run: int | None, users: Sequence[str] | None = None) -> Iterator[Sequence[tuple[Any, ...]]]:
        types = self.cells.types
        texts = [
            f"CASE WHEN {name} BETWEEN {_FIRST} AND {_LAST} THEN to_char({name} AT TIME ZONE 'UTC', '{_UTC}') "
            f"WHEN {name} IS NOT NULL THEN 'beyond' END"
            if types[at] == Instant
            else name
            if types[at] in (Text, Id)
            else f"{name}::text"
            for at, name in enumerate(self.names)
        ]
        where, values = self.where("%s", run, users)
        statement = f"SELECT {', '.join(texts)} FROM {self.table}{where}"
        with transaction.atomic(self.connection.alias), self._cursor(name="orb_sums") as cursor:
            cursor.execute(statement, values)
            size = PageSize(_PAGE)
            while page := cursor.fetchmany(size.rows):  # a server-side cursor, so that only one page is in memory
                yield page
                size.adapt(page)

    def loading(self, size: int) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002 -- the server's cache is configured there
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def _cursor(self, name: str = "") -> Iterator[Any]:
        """Yield a driver cursor without Django, which would keep all statements in memory if DEBUG is on."""
        with self.connection.wrap_database_errors:
            self.connection.ensure_connection()
            with self.connection.connection.cursor(name) if name else self.connection.connection.cursor() as cursor:
                yield cursor

    def _copy(self, cursor: Any, target: str, rows: Sequence[str]) -> None:
        with cursor.copy(f"COPY {target} FROM STDIN") as copy:
            for start in range(0, len(rows), _BLOCK):
                copy.write("".join(rows[start : start + _BLOCK]).encode())


def _escaped(values: Sequence[str | None]) -> Sequence[str]:
    """Return the values of a column escaped for COPY; unchanged if none of them needs escaping."""
    texts = [value for value in values if value is not None]
    together = "".join(texts)
    if len(texts) == len(values) and not any(sign in together for sign in "\\\n\r\t"):
        return texts
    return [_NULL if value is None else value.translate(_SIGNS) for value in values]
