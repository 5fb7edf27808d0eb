"""The upsert statement that writes records: it inserts a row, or updates the row with the same key and owner.

A table that is partitioned by time has no constraint to upsert by, because a unique index of PostgreSQL would have to
contain the time. There, triggers keep the keys unique, and a statement updates the row or inserts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections

from orbsite.storage.base.store import Placed
from orbsite.storage.partitions import RETRY, SKIP, is_partitioned, on_taken_key
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
        self._is_partitioned = is_partitioned(self._connection, model._meta.db_table)

    def insert(self, records: Sequence[Record]) -> int:
        """Insert the records whose keys are free; return how many were inserted."""
        with self._connection.cursor() as cursor:
            values = self._values([(record, None) for record in records], None)
            if not self._is_partitioned:
                cursor.executemany(f"{self._insert()} ON CONFLICT ({self._target}) DO NOTHING", values)
                return int(cursor.rowcount)
            with on_taken_key(cursor, SKIP):
                cursor.executemany(self._insert(), values)
                return int(cursor.rowcount)

    def write(self, records: Sequence[Placed], run: int | None, *, keep_position: bool = False) -> int:
        """Insert or update records with their positions; return how many were written.

        Records whose key belongs to another owner are not written. With `keep_position`, existing rows keep their
        position unless they move to another session.
        """
        with self._connection.cursor() as cursor:
            values = self._values(records, run)
            if self._is_partitioned:
                with on_taken_key(cursor, RETRY):
                    cursor.executemany(self._update_or_insert(keep_position=keep_position), values)
                return len(records)  # the key names the owner, and the cursor counts only inserted rows
            owner = self._names["user_id"]
            update = f"SET {self._sets('EXCLUDED', keep_position=keep_position)}"
            where = f"WHERE {self._table}.{owner} = EXCLUDED.{owner}"
            cursor.executemany(f"{self._insert()} ON CONFLICT ({self._target}) DO UPDATE {update} {where}", values)
            return int(cursor.rowcount)

    def _update_or_insert(self, *, keep_position: bool) -> str:
        """Return the statement for a table without a constraint to upsert by."""
        types = (column_of(self._model, name).db_type(self._connection) for name in self._names)
        names, marks = ", ".join(self._names.values()), ", ".join(f"%s::{of}" for of in types)
        same = " AND ".join(f"{self._table}.{key} = new.{key}" for key in self._target.split(", "))
        sets = self._sets("new", keep_position=keep_position)
        return (
            f"WITH new ({names}) AS (VALUES ({marks})), "
            f"updated AS (UPDATE {self._table} SET {sets} FROM new WHERE {same} RETURNING 1) "
            f"INSERT INTO {self._table} ({names}) SELECT {names} FROM new WHERE NOT EXISTS (SELECT 1 FROM updated)"
        )

    def _sets(self, new: str, *, keep_position: bool) -> str:
        """Return the assignments of an update to the values of `new`."""
        values = {name: f"{new}.{name}" for field, name in self._names.items() if field not in self._never_set}
        if keep_position:
            values[self._names["position"]] = self._kept_position(new)
        return ", ".join(f"{name} = {value}" for name, value in values.items())

    def _kept_position(self, new: str) -> str:
        """Return the rule of `Record.moves_from` in SQL: a row may have been inserted since it was looked for."""
        places = [self._names[name] for name in self._model.kind.stored_fields if name != "user_id"]
        stays = " AND ".join(f"{self._table}.{place} = {new}.{place}" for place in places) or "TRUE"
        return f"CASE WHEN {stays} THEN {self._table}.{self._names['position']} END"

    def _insert(self) -> str:
        names = ", ".join(self._names.values())
        marks = ", ".join(["%s"] * len(self._names))
        return f"INSERT INTO {self._table} ({names}) VALUES ({marks})"

    def _values(self, records: Sequence[Placed], run: int | None) -> list[tuple[Any, ...]]:
        refuse_plain_writer(self._connection.alias)
        columns = Columns(self._model.kind, [record for record, _ in records])
        encoded = zip(self._cells.of(columns), columns.digests(), records, strict=True)
        return [(*cells, digest, run, position) for cells, digest, (_, position) in encoded]
