"""The upsert statement that writes records: it inserts a row, or updates the row with the same key and owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections

from orbsite.storage.base.store import Placed
from orbsite.storage.records.digest import Columns
from orbsite.storage.records.record import Record, columns
from orbsite.storage.records.sealed_columns import refuse_plain_writer
from orbsite.storage.sql.models import LEDGER, RecordRow, column_of
from orbsite.storage.sql.row_encoder import RowEncoder


def conflict_target(kind: type[Record]) -> tuple[str, ...]:
    """Return the columns of the unique constraint that an upsert uses.

    No other code decides this: a database that is sharded by owner needs the owner among the columns.
    """
    return kind.key_fields


class Upsert:
    """Inserts and upserts records in one table."""

    def __init__(self, model: type[RecordRow], using: str) -> None:
        self._model, self._connection = model, connections[using]
        self._cells = RowEncoder(model, self._connection)
        quote = self._connection.ops.quote_name
        self._table = quote(model._meta.db_table)
        self._target = ", ".join(map(quote, conflict_target(model.kind)))
        self._never_set = {"user_id", *model.kind.key_fields}
        self._names = {name: quote(column_of(model, name).column) for name in (*columns(model.kind), *LEDGER)}

    def insert(self, records: Sequence[Record]) -> int:
        """Insert the records whose keys are free; return how many were inserted."""
        with self._connection.cursor() as cursor:
            values = self._values([(record, None) for record in records], None)
            cursor.executemany(f"{self._insert()} DO NOTHING", values)
            return int(cursor.rowcount)

    def write(self, records: Sequence[Placed], run: int | None, *, keep_position: bool = False) -> int:
        """Insert or update records with their positions; return how many were written.

        Records whose key belongs to another owner are not written. With `keep_position`, existing rows keep their
        position unless they move to another session.
        """
        values = {name: f"EXCLUDED.{name}" for field, name in self._names.items() if field not in self._never_set}
        if keep_position:
            values[self._names["position"]] = self._kept_position()
        sets = ", ".join(f"{name} = {value}" for name, value in values.items())
        owner = self._names["user_id"]
        update = f"DO UPDATE SET {sets} WHERE {self._table}.{owner} = EXCLUDED.{owner}"
        statement = f"{self._insert()} {update}"
        with self._connection.cursor() as cursor:
            cursor.executemany(statement, self._values(records, run))
            return int(cursor.rowcount)

    def _kept_position(self) -> str:
        """Return the rule of `Record.moves_from` in SQL: a row may have been inserted since it was looked for."""
        places = [self._names[name] for name in self._model.kind.stored_fields if name != "user_id"]
        stays = " AND ".join(f"{self._table}.{place} = EXCLUDED.{place}" for place in places) or "TRUE"
        return f"CASE WHEN {stays} THEN {self._table}.{self._names['position']} END"

    def _insert(self) -> str:
        names = ", ".join(self._names.values())
        marks = ", ".join(["%s"] * len(self._names))
        return f"INSERT INTO {self._table} ({names}) VALUES ({marks}) ON CONFLICT ({self._target})"

    def _values(self, records: Sequence[Placed], run: int | None) -> list[tuple[Any, ...]]:
        refuse_plain_writer(self._connection.alias)
        columns = Columns(self._model.kind, [record for record, _ in records])
        encoded = zip(self._cells.of(columns), columns.digests(), records, strict=True)
        return [(*cells, digest, run, position) for cells, digest, (_, position) in encoded]
