"""Detaches the partitions whose rows are all too old, instead of deleting them row by row."""

from __future__ import annotations

from datetime import datetime

from orbsite.storage.partitions import DEFAULT, LOCK_TIMEOUT, Partition, partitions
from orbsite.storage.records.record import columns
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.models import RecordRow, read_cells
from orbsite.storage.sql.retention.deletion import KeyedRetentionDeletion

_PAGE = 1000


class PartitionedRetentionDeletion(KeyedRetentionDeletion):
    """The removal from a partitioned table: `find_whole` finds partitions, and `plan` then the rows of the others."""

    def __init__(self, model: type[RecordRow], using: str, policy: Policy, now: datetime) -> None:
        super().__init__(model, using, policy, now)
        self.whole: dict[Partition, int] = {}
        """The partitions whose rows are all to be removed, with the numbers of their rows."""
        self._oldest = policy.too_old(now)
        self._name = str(model._meta.db_table)
        self._primary = self._connection.ops.quote_name(str(model._meta.pk.column))

    def find_whole(self) -> None:
        """Find the partitions whose rows are all too old: no rule of a policy keeps those."""
        known = [] if self._oldest is None else partitions(self._connection, self._name)
        old = [one for one in known if self._oldest is not None and one.end <= self._oldest]
        counted = {one: self._number(one) for one in old}
        self.whole = {one: number for one, number in counted.items() if number is not None}
        if self.whole:
            self._among = self._outside(known)

    def detach(self, one: Partition, run: int) -> int | None:
        """Make a partition a table by itself, in the caller's transaction; return the number of its rows.

        None if it has a row that must stay, in which case it is left as it is. Nothing writes to it meanwhile.
        """
        self._run(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        self._run(f"LOCK TABLE {self._quoted(one.name)} IN SHARE MODE")
        number = self._number(one)
        if number is not None:
            self._run(f"ALTER TABLE {self._selection.table} DETACH PARTITION {self._quoted(one.name)}")
            self._run(f"ALTER TABLE {self._quoted(one.name)} RENAME TO {self._quoted(one.of_run(run).name)}")
        return number

    def _outside(self, known: list[Partition]) -> tuple[str, list[object]]:
        """Return the condition that a row is in no whole partition; one on its time, if that is sufficient."""
        last = max(one.end for one in self.whole)
        others = [one for one in known if one not in self.whole and one.start < last]
        default = self._quoted(f"{self._name}_{DEFAULT}")
        is_older = f"SELECT 1 FROM {default} WHERE {self._selection.time} < %s LIMIT 1"
        if not others and not self._rows(is_older, [last]):
            return f"{self._selection.time} >= %s", [last]
        return "NOT tableoid = ANY(%s::regclass[])", [[self._quoted(one.name) for one in self.whole]]

    def _number(self, one: Partition) -> int | None:
        """Return the number of the rows of a partition, None if one of them must stay, because it cannot be decoded."""
        rows = f"FROM {self._quoted(one.name)} r"
        decodes = f"{self._selection.is_readable} AND {self._columns_of_tombstones.decodes()}"
        total, good = self._rows(f"SELECT count(*), count(*) FILTER (WHERE {decodes}) {rows}")[0]
        return int(total) if total == good and self._can_be_read(rows) else None

    def _can_be_read(self, rows: str) -> bool:
        """Tell whether those rows decode that the database's own conditions cannot check."""
        names, cells = columns(self.kind), self._columns_of_tombstones.cells()
        where = f"r.{self._primary} > %s AND ({self._columns_of_tombstones.needs_a_look()})"
        statement = f"SELECT r.{self._primary}, {cells} {rows} WHERE {where} ORDER BY 1 LIMIT {_PAGE}"
        return all(
            read_cells(self.kind, dict(zip(names, row, strict=True))).record is not None
            for page in self._pages(statement, 0)
            for _, *row in page
        )

    def _quoted(self, name: str) -> str:
        return str(self._connection.ops.quote_name(name))
