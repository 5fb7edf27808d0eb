"""Sanitizes rows in SQL that break the rules of their records. The ledger keeps their previous state."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec
from django.db import connections

from orbsite.models.ledger import Change, Run
from orbsite.operations.batched import batched
from orbsite.operations.ledger.change_log import key_text
from orbsite.operations.ledger.runs import alone, begin, counts_of, recorded
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.search.indexer import refresh_once_saved
from orbsite.storage.errors import InvalidRecord, OrbError
from orbsite.storage.findings import ROOT, Finding, error, step, unreadable, warning
from orbsite.storage.records.decoder import checked
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Key, Record, columns, field_names
from orbsite.storage.records.sanitizer import mend
from orbsite.storage.records.sealed_columns import Unopened
from orbsite.storage.sql.filters import by_keys, can_be_stored
from orbsite.storage.sql.keyset_pagination import raw_pages
from orbsite.storage.sql.models import (
    cells_as_json,
    is_object,
    is_spelled_by_us,
    key_of,
    known_path,
    raw_json,
    read_cells,
)
from orbsite.storage.sql.raw_columns import named_rows
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import open_sql_store

COLUMNS = ("read", "valid", "mended", "rejected")
_PAGE = 500

_Values = dict[str, Any]


def sanitize(
    domains: list[Domain],
    *,
    now: Callable[[], datetime],
    kind: str | None = None,
    keys: tuple[str, ...] | None = None,
    apply: bool = False,
    progress: Progress = silent,
) -> Report:
    """Sanitize invalid rows, all or those of a kind with these keys, or report what would be changed.

    A valid row is never changed. Raises OrbError where there is no such kind, or where a key is malformed.
    """
    wanted = None if keys is None else [_key(one) for one in keys]
    work = [
        _Sanitizing(open_sql_store(domain), one, wanted, now)
        for domain in domains
        for one in domain.kinds
        if kind in (None, one.plural)
    ]
    if not work or (wanted is not None and len(work) > 1):
        known = ", ".join(one.plural for domain in domains for one in domain.kinds)
        raise OrbError(f"give the kind of record that the keys belong to: {known}")
    report = Report(columns=COLUMNS)
    progress.tells_of(report)
    with contextlib.ExitStack() as stack:
        run = None
        if apply:
            stack.enter_context(alone())
            run = begin(Run.Operation.SANITIZE, "SQL", {}, now(), report)
            stack.enter_context(recorded(run, report, now))
        for one in work:
            one.all(report, run, progress)
    return report


class _Sanitizing:
    def __init__(
        self, store: SqlStore, kind: type[Record], wanted: list[Key] | None, now: Callable[[], datetime]
    ) -> None:
        self._store, self._kind, self._wanted, self._now = store, kind, wanted, now
        self._model, self._names = store.domain.models[kind], (*columns(kind), "position", "run_id")
        self._is_in_postgresql = connections[store.using].vendor == "postgresql"

    def all(self, report: Report, run: Run | None, progress: Progress) -> None:
        """Sanitize the rows, a page per transaction."""
        kinds = (kind.plural for kind in self._store.domain.kinds)
        section = report.section(self._store.domain.name, kinds)
        for page in self._pages():
            with self._store.transaction() if run is not None else contextlib.nullcontext():
                broken = [row for row in page if not self._is_valid(row)]
                section.count(self._kind.plural, "read", len(page))
                section.count(self._kind.plural, "valid", len(page) - len(broken))
                for row in self._reread(broken) if run is not None else broken:
                    self._sanitize(row, section, run)
                if run is not None and broken:  # saved now, in case the run ends early
                    Run.objects.filter(pk=run.pk).update(counts=counts_of(report))
            progress(len(page))

    def _is_valid(self, row: _Values) -> bool:
        is_ours = self._is_in_postgresql or is_spelled_by_us(self._kind, row)
        return is_ours and read_cells(self._kind, row).record is not None

    def _sanitize(self, row: _Values, section: Section, run: Run | None) -> None:
        key, changes = tuple(row[name] for name in self._kind.key_fields), list[Finding]()
        unopened = next((cell.reason for cell in row.values() if isinstance(cell, Unopened)), None)
        if unopened is not None:
            section.count(self._kind.plural, "rejected")
            section.findings.append(error(unreadable(self._kind.plural, key_of(self._kind, row), "").path, unopened))
            return
        path, old = unreadable(self._kind.plural, key_of(self._kind, row), "").path, raw_json(self._kind, row)
        record = mend(self._kind, old, new_id=None, now=self._now, changes=changes)
        if record is None or record.key != key or record.owner != row["user_id"] or not _can_be_saved(record):
            section.count(self._kind.plural, "rejected")
            section.findings.append(error(path, "no valid record can be made from it; it stays unchanged"))
            return
        section.count(self._kind.plural, "mended")
        changes += self._more_changes(row)
        what = "mended" if run is not None else "would be mended"
        section.findings += [
            warning(path, f"{what}: {known_path(self._kind, one.path)}: {one.message}") for one in changes
        ]
        if run is not None:
            position = row["position"] if isinstance(row["position"], int) else None
            self._store.load([(record, position)], run.uid)
            self._keep(run, key, row, digest(record))

    def _more_changes(self, row: _Values) -> Iterator[Finding]:
        """Yield the changes that the sanitizer does not report."""
        names = dict(field_names(self._kind))
        blobs = [name for name, cell in row.items() if name in names and isinstance(cell, bytes)]
        yield from (warning(step(ROOT, names[name]), "the column holds a BLOB; converted to text") for name in blobs)
        if not is_object(row["extra"]):
            yield warning(ROOT, "the column extra does not hold an object; left out")
        if not self._is_in_postgresql and not is_spelled_by_us(self._kind, row):
            yield warning(ROOT, "a time has a format that the database cannot sort; reformatted")

    def _keep(self, run: Run, key: Key, row: _Values, after: str) -> None:
        """Keep the original columns in the ledger. They are for reading only: no record can be made of them."""
        run_id, position = row["run_id"], row["position"]
        Change.objects.using(self._store.using).create(
            run=run,
            domain=self._store.domain.name,
            kind=self._kind.plural,
            key=key_text(key),
            before=cells_as_json(self._kind, {name: row[name] for name in columns(self._kind)}),
            before_run=run_id if isinstance(run_id, int) else None,
            before_position=position if isinstance(position, int) else None,
            after=after,
        )
        refresh_once_saved(self._store.domain, self._kind, [key], self._store.using)

    def _pages(self) -> Iterator[list[_Values]]:
        if self._wanted is not None:
            for keys in batched(self._wanted, _PAGE):
                yield self._of(keys)
            return
        yield from raw_pages(self._rows(), self._kind.key_fields, self._names, _PAGE)

    def _of(self, keys: list[Key]) -> list[_Values]:
        rows = self._rows()
        return [row for where in by_keys(self._kind, keys) for row in named_rows(rows.filter(where), self._names)]

    def _reread(self, broken: list[_Values]) -> list[_Values]:
        """Return the rows as they are now, locked, if they are still invalid.

        A row whose key no query can find is returned as it was.
        """
        keys = [tuple(row[name] for name in self._kind.key_fields) for row in broken]
        lost = [row for key, row in zip(keys, broken, strict=True) if not all(map(can_be_stored, key))]
        self._store.rows(self._kind, keys, lock=True)
        return [*lost, *(row for row in self._of(keys) if not self._is_valid(row))]

    def _rows(self) -> Any:
        return self._model._base_manager.using(self._store.using)


def _can_be_saved(record: Record) -> bool:
    try:
        checked(record)
    except InvalidRecord:
        return False
    return True


def _key(text: str) -> Key:
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError as problem:
        raise OrbError("a key has to be a JSON list of texts, as the ledger stores it; nothing was done") from problem
