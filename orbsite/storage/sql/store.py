"""The store in SQL tables, by Django's models, in SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain, islice
from typing import Any, cast

from django.db import connections, models, transaction
from typing_extensions import override

from orbsite.storage.base.preconditions import readable, refuse_another, refuse_other_owner, refuse_unexpected
from orbsite.storage.base.query import Query
from orbsite.storage.base.store import (
    Comparison,
    LedgerStore,
    Placed,
    PrintedPage,
    RecordBatch,
    Store,
    StoredRecord,
    alone,
    by_kind,
    last_of_each,
)
from orbsite.storage.citus import is_distributed, placed_tables
from orbsite.storage.encoding import timestamps
from orbsite.storage.errors import Conflict, OwnerConflict
from orbsite.storage.findings import Finding, printable
from orbsite.storage.records.checksum import Sums
from orbsite.storage.records.decoder import checked
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Key, R, Record, columns
from orbsite.storage.records.sealed_columns import is_sealing
from orbsite.storage.records.unreadable import Unread
from orbsite.storage.sql.bulk import Bulk
from orbsite.storage.sql.bulk_postgresql import PostgresqlBulk
from orbsite.storage.sql.bulk_sqlite import SqliteBulk
from orbsite.storage.sql.compiled_query import PageQuery
from orbsite.storage.sql.filters import by_keys, can_be_stored
from orbsite.storage.sql.keyset_pagination import printed, raw_pages, records
from orbsite.storage.sql.models import LEDGER, column_of, read_cells, read_or_tell, why_unreadable
from orbsite.storage.sql.raw_columns import Cursor, be_lenient, named_rows
from orbsite.storage.sql.retry import TransactionRetry
from orbsite.storage.sql.spool import spooled
from orbsite.storage.sql.upsert import Upsert

_PAGE = 1000
_ATTEMPTS = 5
_MAX_TIMES = 10
_USERS_AT_A_TIME, _MOST_USERS = 500, 5000
"""For more users, the whole table is read: that is faster than an index."""


class SqlStore(LedgerStore):
    """Keeps records in the tables of their domain's models. Reads return records, never model instances."""

    name = "sql"

    def __init__(self, domain: Domain, using: str = "default") -> None:
        super().__init__(domain)
        self.using = using
        self._attempts = TransactionRetry(using)

    def fetch(
        self,
        kind: type[R],
        keys: Iterable[Key],
        *,
        user_id: str | None = None,
        findings: list[Finding] | None = None,
    ) -> dict[Key, R]:
        wanted = list(keys)
        if user_id is not None and not can_be_stored(user_id):
            return {}
        owned = {} if user_id is None else {"user_id": user_id}
        with Unread(findings) as unread:
            if len(wanted) == 1:
                found = self._fetch_one(kind, wanted[0], owned, unread)
            else:
                rows = [self._rows(kind).filter(condition, **owned) for condition in by_keys(kind, wanted)]
                cells = chain.from_iterable(named_rows(part, columns(kind)) for part in rows)
                found = [record for row in cells if (record := read_or_tell(kind, row, unread)) is not None]
        return {record.key: record for record in found}

    def _fetch_one(self, kind: type[R], key: Key, owned: dict[str, str], unread: Unread) -> list[R]:
        """Return the record with a key, by a cached compiled query."""
        where = dict(zip(kind.key_fields, key, strict=True))
        if not all(map(can_be_stored, key)) or any(where.get(name, owner) != owner for name, owner in owned.items()):
            return []
        page = PageQuery(self.domain.models[kind], self.using, kind.key_fields, True, 1)
        return list(islice(records(page, where | owned, None, kind, unread=unread), 1))

    def select(self, kind: type[R], query: Query, findings: list[Finding] | None = None) -> list[R]:
        if not all(map(can_be_stored, query.where.values())):
            return []
        where = _conditions(kind, query)
        content = query.tag is not None or query.text is not None
        size = _PAGE if content or query.limit is None else min(query.limit, _PAGE)
        page = PageQuery(self.domain.models[kind], self.using, kind.order_fields, query.oldest_first, size)
        with Unread(findings) as unread:
            found = records(page, where, self._place(kind, query), kind, unread=unread, max_bytes=query.max_bytes)
            if query.since or query.until:  # SQLite compares times as texts, which is wrong for other formats
                found = filter(query.matches_time, found)
            return list(query.cut(filter(query.matches_content, found) if content else found))

    @override
    def printed(self, kind: type[Record], query: Query) -> PrintedPage | None:
        limit, max_bytes = query.limit, query.max_bytes
        if limit is None or max_bytes is None or not 0 < limit < _PAGE:
            return None
        if query.tag is not None or query.text is not None or not all(map(can_be_stored, query.where.values())):
            return None
        page = PageQuery(self.domain.models[kind], self.using, kind.order_fields, query.oldest_first, limit + 1)
        return printed(page, _conditions(kind, query), self._place(kind, query), max_bytes)

    def _place(self, kind: type[Record], query: Query) -> tuple[Any, ...] | None:
        """Return the cursor of a page; if SQLite stores the cursor's time in another format, with the stored text."""
        names, time = kind.order_fields, kind.time_field
        if query.after is None or time not in names or connections[self.using].vendor != "sqlite":
            return query.after
        at = dict(zip(names, query.after, strict=True))
        others = {name: value for name, value in at.items() if name != time}
        if not all(map(can_be_stored, others.values())):
            return query.after
        stored = self._stored_times(kind, str(time), {**query.where, **others})
        same = [cell for cell in stored if isinstance(cell, str) and _is_same_time(cell, at[time])]
        return Cursor(same[0] if name == time else at[name] for name in names) if len(same) == 1 else query.after

    def _stored_times(self, kind: type[Record], time: str, where: Mapping[str, str]) -> set[Any]:
        """Return the raw times of the rows with these field values, in SQLite."""
        model, connection = self.domain.models[kind], connections[self.using]
        be_lenient(connection)
        quoted = {name: connection.ops.quote_name(column_of(model, name).column) for name in (time, *where)}
        conditions = " AND ".join(f"{quoted[name]} = %s" for name in where)
        table = connection.ops.quote_name(model._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT +{quoted[time]} FROM {table} WHERE {conditions} LIMIT {_MAX_TIMES}",
                list(where.values()),
            )
            return {cell for (cell,) in cursor.fetchall()}

    def add(self, record: R) -> tuple[R, bool]:
        record = checked(record)
        for _ in range(_ATTEMPTS):
            is_new, row = self._attempts.run(lambda: self._insert(record))
            if is_new:
                return record, True
            if row is not None:
                refuse_other_owner(record, readable(row.record, record))
                return cast(R, row.record), False
        raise Conflict(f"other writers keep adding and removing the key {record.key!r}; try again later")

    def put(self, records: Iterable[Record], *, expect: str | None = None, free: bool = False) -> None:
        wanted = last_of_each(records, expect, free=free)
        self._attempts.run(lambda: self._add_all(wanted) if free else self._replace(wanted, expect))

    def delete(
        self, kind: type[Record], keys: Iterable[Key], *, user_id: str | None = None, expect: str | None = None
    ) -> int:
        wanted = alone(keys, expect)
        return self._attempts.run(lambda: self._delete(kind, wanted, user_id, expect))

    def delete_where(self, kind: type[Record], where: Mapping[str, str]) -> int:
        return self._attempts.run(lambda: self._delete(kind, [record.key for record in self.find(kind, where)], None))

    def walk(self, kind: type[R], *, page: int = 1000, findings: list[Finding] | None = None) -> Iterator[R]:
        pages = PageQuery(self.domain.models[kind], self.using, kind.key_fields, True, page)
        with Unread(findings) as unread:
            yield from records(pages, {}, None, kind, unread=unread)

    @property
    def shares_moment_with(self) -> Hashable:
        return type(self), self.using

    def at_one_moment(self, *others: Store, user_id: str | None = None) -> AbstractContextManager[Sequence[Any]]:
        return spooled([self.domain, *(store.domain for store in others)], self.using, user_id)

    def count(self, kind: type[Record], distinct: str | None = None) -> int:
        rows = self._rows(kind)
        return rows.count() if distinct is None else rows.values(distinct).distinct().count()

    def size(self) -> int:
        connection = connections[self.using]
        tables = [model._meta.db_table for model in self.domain.models.values()]
        with connection.cursor() as cursor:
            if connection.vendor != "postgresql":  # SQLite only has the size of the whole file
                cursor.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
                return int(cursor.fetchone()[0])
            spread = placed_tables(connection)
            return sum(self._size_of(cursor, table, is_spread=table in spread) for table in tables)

    def _size_of(self, cursor: Any, table: str, *, is_spread: bool) -> int:
        """Return the bytes of a table in PostgreSQL; of one in shards, within a transaction, those of its rows alone.

        The nodes tell no sizes in a transaction that may have written.
        """
        name = connections[self.using].ops.quote_name(table)
        if is_spread and connections[self.using].in_atomic_block:
            cursor.execute(f"SELECT coalesce(sum(pg_column_size(r.*)), 0) FROM {name} r")
        elif is_spread:
            cursor.execute("SELECT coalesce(citus_total_relation_size(to_regclass(%s)), 0)", [name])
        else:  # with its partitions
            cursor.execute(
                "SELECT coalesce(sum(pg_total_relation_size(relid)), 0) FROM pg_partition_tree(to_regclass(%s))", [name]
            )
        return int(cursor.fetchone()[0])

    def transaction(self) -> AbstractContextManager[None]:
        return transaction.atomic(self.using)

    def rows(self, kind: type[R], keys: Iterable[Key], *, lock: bool = False) -> dict[Key, StoredRecord[R]]:
        rows = self._rows(kind)
        return self._locked(kind, list(keys), rows) if lock else self._stored(kind, keys, rows)

    def count_written(self, kind: type[Record], run: int) -> int:
        return self._rows(kind).filter(run_id=run).count()

    def present(self, kind: type[Record], keys: Iterable[Key]) -> set[Key]:
        rows = self._rows(kind).values_list(*kind.key_fields)
        return {tuple(key) for condition in by_keys(kind, keys) for key in rows.filter(condition)}

    def written_by(self, kind: type[R], run: int, *, page: int = 1000) -> Iterator[list[StoredRecord[R]]]:
        rows, names = self._rows(kind).filter(run_id=run), (*columns(kind), *LEDGER)
        for part in raw_pages(rows, kind.key_fields, names, page):
            yield [_row(kind, cells) for cells in part]

    def load(self, records: Sequence[Placed], run: int | None) -> None:
        positions = {(type(record), record.key): position for record, position in records}
        with transaction.atomic(self.using):
            for kind, group in by_kind(record for record, _ in records):
                self._write(kind, [(record, positions[kind, record.key]) for record in group], run)

    def make_batch(
        self, kind: type[R], records: Sequence[R], positions: Sequence[int | None], run: int | None = None
    ) -> RecordBatch:
        return self._bulk(kind).make_batch(records, positions, run)

    def compare(self, batch: RecordBatch) -> Comparison:
        return self._bulk(batch.kind).compare(batch)

    def insert(self, batch: RecordBatch, places: Sequence[int], run: int | None) -> None:
        self._bulk(batch.kind).insert(batch, places, run)

    def sums(self, kind: type[Record], run: int | None = None, users: Collection[str] | None = None) -> Sums:
        sums = Sums()
        for some in _groups(users):
            for owners, digests in self._bulk(kind).digests(run, some):
                names = {owner: printable(owner) for owner in set(owners)}
                sums.add_all(map(names.__getitem__, owners), digests)
        return sums

    @property
    @override
    def has_plain_rows(self) -> bool:
        return not is_sealing()

    @property
    @override
    def database(self) -> str:
        return self.using

    @override
    def refused(self) -> int:
        return sum(digests.count(None) for kind in self.domain.kinds for _, digests in self._bulk(kind).digests(None))

    def records_of(self, kind: type[R], rows: models.QuerySet[Any], unread: Unread) -> Iterator[R]:
        """Yield the records of rows of a kind's table; rows that do not decode are added to `unread`."""
        decoded = (read_or_tell(kind, cells, unread) for cells in named_rows(rows, columns(kind)))
        return (record for record in decoded if record is not None)

    def loading(self, size: int) -> AbstractContextManager[None]:
        return self._bulk(self.domain.kinds[0]).loading(size)

    def _bulk(self, kind: type[R]) -> Bulk[R]:
        connection = connections[self.using]
        make: Any = PostgresqlBulk if connection.vendor == "postgresql" else SqliteBulk
        bulk: Bulk[R] = make(self.domain.models[kind], connection)
        return bulk

    def _rows(self, kind: type[Record]) -> models.QuerySet[Any]:
        model: type[models.Model] = self.domain.models[kind]
        return model._base_manager.using(self.using)

    def _upsert(self, kind: type[Record]) -> Upsert:
        return Upsert(self.domain.models[kind], self.using)

    def _insert(self, record: R) -> tuple[bool, StoredRecord[R] | None]:
        if self._upsert(type(record)).insert([record]):
            return True, None
        return False, self.rows(type(record), [record.key]).get(record.key)

    def _add_all(self, wanted: list[Record]) -> None:
        for kind, group in by_kind(wanted):
            if self._upsert(kind).insert(group) < len(group):
                rows = self.rows(kind, [record.key for record in group])
                for record in group:
                    if record.key not in rows:
                        raise Conflict(f"another writer added and removed the key {record.key!r} meanwhile; try again")
                    old = readable(rows[record.key].record, record)
                    refuse_other_owner(record, old)
                    refuse_another(record, old)

    def _replace(self, wanted: list[Record], expect: str | None) -> None:
        for kind, group in by_kind(wanted):
            owners = sorted(
                {record.owner for record in group}
            )  # a condition on owners routes the query to their shards
            rows = self._locked(kind, [record.key for record in group], self._rows(kind).filter(user_id__in=owners))
            for record in group:
                row = rows.get(record.key)
                old = None if row is None else readable(row.record, record)
                if old is None and expect is not None:
                    refuse_other_owner(record, self.fetch(kind, [record.key]).get(record.key))
                refuse_unexpected(old, expect)
            self._write(kind, [(record, None) for record in group], None, keep_position=True)

    def _delete(self, kind: type[Record], keys: list[Key], user_id: str | None, expect: str | None = None) -> int:
        if expect is not None:
            self.rows(kind, keys, lock=True)
        found = self.fetch(kind, keys, user_id=user_id)
        refuse_unexpected(next(iter(found.values()), None), expect)
        return sum(self._rows(kind).filter(condition).delete()[0] for condition in by_keys(kind, found))

    def _write(
        self, kind: type[Record], records: Sequence[Placed], run: int | None, *, keep_position: bool = False
    ) -> None:
        if records and self._upsert(kind).write(records, run, keep_position=keep_position) != len(records):
            raise OwnerConflict(
                f"another writer has taken one of {len(records)} keys from {records[0][0].key!r} on meanwhile; "
                "nothing was written. Read again, then retry"
            )

    def _locked(self, kind: type[R], keys: list[Key], rows: models.QuerySet[Any]) -> dict[Key, StoredRecord[R]]:
        """Return the stored rows of these keys, locked; in shards, those of each user by a statement of its own."""
        apart = len(keys) > 1 and is_distributed(connections[self.using], self.domain.models[kind]._meta.db_table)
        return self._stored(kind, keys, rows.select_for_update(), apart=apart)

    def _stored(
        self, kind: type[R], keys: Iterable[Key], rows: models.QuerySet[Any], *, apart: bool = False
    ) -> dict[Key, StoredRecord[R]]:
        stored = {}
        for condition in by_keys(kind, keys, apart=apart):
            ordered = rows.filter(condition).order_by(*kind.key_fields)
            for cells in named_rows(ordered, (*columns(kind), *LEDGER)):
                row: StoredRecord[R] = _row(kind, cells)
                stored[row.key] = row
        return stored


def _groups(users: Collection[str] | None) -> Iterator[Sequence[str] | None]:
    """Yield the users in groups that an index finds; None, for all users, where they are many."""
    if users is None or len(users) > _MOST_USERS:
        yield None
        return
    storable = sorted(filter(can_be_stored, users))
    for start in range(0, len(storable), _USERS_AT_A_TIME):
        yield storable[start : start + _USERS_AT_A_TIME]


def _conditions(kind: type[Record], query: Query) -> dict[str, Any]:
    """Return the conditions of a query that are evaluated in SQL."""
    where: dict[str, Any] = dict(query.where)
    if kind.time_field and query.since:
        where[f"{kind.time_field}__gte"] = query.since
    if kind.time_field and query.until:
        where[f"{kind.time_field}__lt"] = query.until
    return where


def _row(kind: type[R], cells: dict[str, Any]) -> StoredRecord[R]:
    reading, run, position = read_cells(kind, cells), cells["run_id"], cells["position"]
    record = reading.record
    as_left = run is not None and record is not None and cells["digest"] == digest(record)
    why = None if record is not None else why_unreadable(kind, cells, reading)
    place = position if isinstance(position, int) else None
    key = tuple(cells[name] for name in kind.key_fields)
    return StoredRecord(key, record, run if isinstance(run, int) else None, as_left, place, why)


def _is_same_time(cell: str, moment: Any) -> bool:
    """Tell whether a stored text is this time, in any format."""
    try:
        return bool(timestamps.parse(cell)[0] == moment)
    except ValueError:
        return False
