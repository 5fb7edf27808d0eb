"""Records changes by hand in the ledger: a run, and the previous state of each record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from orbsite.models.ledger import Change, Run, RunState
from orbsite.models.sealed_text import prepare_to_seal
from orbsite.operations.ledger.change_log import key_text
from orbsite.operations.ledger.runs import counts_of
from orbsite.operations.report import Report
from orbsite.search.indexer import refresh_once_saved
from orbsite.storage.base.store import StoredRecord
from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.records.changes import Delete, Put, Step, as_json
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import Instant, Key, Record, columns, declared, field_names
from orbsite.storage.sql.models import cells_as_json
from orbsite.storage.sql.raw_columns import named_rows
from orbsite.storage.sql.store import SqlStore

CONSOLE = "console"
"""The ledger's name for the source of changes by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The author of a change by hand, with its time and reason."""

    actor: str
    at: datetime
    reason: str = ""


class ManualChanges:
    """Records one change by hand, in the caller's transaction. There is no run where nothing was changed."""

    def __init__(
        self, store: SqlStore, kind: type[Record], operation: str, hand: Actor, columns: tuple[str, ...]
    ) -> None:
        self._store, self._kind, self._operation, self._hand = store, kind, operation, hand
        self._run: Run | None = None
        self._keys: list[Key] = []
        self.report = Report(columns=columns, bad=())
        self.section = self.report.section(store.domain.name, (kind.plural,))

    def count(self, what: str) -> None:
        """Count a record under the given name."""
        self.section.count(self._kind.plural, what)

    def change(
        self, key: Key, row: StoredRecord[Any] | None, after: Record | None, reason: str | None = None
    ) -> Change:
        """Return the change of one record: its row before, and its digest after or, if deleted, its last digest."""
        self._keys.append(key)
        return Change(
            domain=self._store.domain.name,
            kind=self._kind.plural,
            key=key_text(key),
            before=self._before(key, row),
            before_run=row.run if row else None,
            before_position=row.position if row else None,
            after=digest(after) if after else digest(row.record) if row and row.record else "",
            actor=self._hand.actor,
            reason=self._hand.reason if reason is None else reason,
        )

    def keep(self, changes: Iterable[Change], *, reverts: int | None = None) -> None:
        """Write changes to the ledger. The first call creates the run."""
        changes = list(changes)
        if changes and self._run is None:
            self._run = Run.objects.using(self._store.using).create(
                operation=self._operation,
                state=RunState.COMPLETE,
                source=CONSOLE,
                started_at=self._hand.at,
                finished_at=self._hand.at,
                reverts_id=reverts,
            )
            self.report.run = self._run.pk
        for change in changes:
            change.run_id = self._run.pk if self._run else 0
        prepare_to_seal(changes, self._store.using)
        Change.objects.using(self._store.using).bulk_create(changes)

    def done(self) -> Report:
        """Save the counts of the run, and return the report."""
        if self._run is not None:
            Run.objects.using(self._store.using).filter(pk=self._run.pk).update(counts=counts_of(self.report))
            refresh_once_saved(self._store.domain, self._kind, self._keys, self._store.using)
        return self.report

    def _before(self, key: Key, row: StoredRecord[Any] | None) -> str:
        if row is None:
            return step_text(Delete(self._kind, key))
        return step_text(Put(row.record)) if row.record else self._columns(key)

    def _columns(self, key: Key) -> str:
        """Return the columns of a row that does not decode, as text to read. They cannot be restored."""
        model = self._store.domain.models[self._kind]
        rows = model._base_manager.using(self._store.using).filter(**dict(zip(self._kind.key_fields, key, strict=True)))
        names = columns(self._kind)
        return cells_as_json(self._kind, next(named_rows(rows, names)))


def step_text(step: Step) -> str:
    """Return a step as the ledger stores it."""
    return compact(as_json(step)).decode()


def stamped(record: Record, moment: datetime) -> Record:
    """Return a record with the given time of change, where its kind has one. A later time in the record stays."""
    times = {name: getattr(record, name) for name in times_of(type(record))}
    return msgspec.structs.replace(record, **{name: max(moment, old or moment) for name, old in times.items()})


def times_of(kind: type[Record]) -> set[str]:
    """Return the fields of a record that hold the time of its last change."""
    outside = {name for name, printed in field_names(kind) if printed in kind.outside_digest}
    return {name for name in outside | {kind.version_field} if name and declared(kind)[name] == Instant}
