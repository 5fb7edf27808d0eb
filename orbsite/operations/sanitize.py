"""Mends rows in SQL that break the rules of their records; what they held before is kept in the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from orbsite.models import Change, Run
from orbsite.operations.batches import batched
from orbsite.operations.book import key_text
from orbsite.operations.ledger import alone, begin, counts_of, recorded
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.search.index import refresh_once_saved
from orbsite.storage.conditions import beyond, by_keys
from orbsite.storage.digests import digest
from orbsite.storage.domain import Domain
from orbsite.storage.errors import OrbError
from orbsite.storage.finding import ROOT, Finding, error, warning
from orbsite.storage.mender import mend
from orbsite.storage.record import Key, Record, columns, field_names
from orbsite.storage.rows import read_row
from orbsite.storage.sql import SqlStore
from orbsite.stores import open_sql_store

COLUMNS = ("read", "valid", "mended", "rejected")
OPERATION = "sanitize"
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
    """Look at rows, all or those of a kind with these keys, and mend what breaks a rule, or tell what would be mended.

    A row that is valid is never touched. Raises OrbError where there is no such kind, or a key is none.
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
        raise OrbError(f"say of which kind of record the keys are; there are {known}")
    report = Report(columns=COLUMNS)
    progress.tells_of(report)
    with contextlib.ExitStack() as stack:
        run = None
        if apply:
            stack.enter_context(alone())
            run = begin(OPERATION, "SQL", {}, now(), report)
            stack.enter_context(recorded(run, report, now))
        for one in work:
            one.all(report, run, progress)
    return report


class _Sanitizing:
    """The part that is about one kind of record."""

    def __init__(
        self, store: SqlStore, kind: type[Record], wanted: list[Key] | None, now: Callable[[], datetime]
    ) -> None:
        self._store, self._kind, self._wanted, self._now = store, kind, wanted, now

    def all(self, report: Report, run: Run | None, progress: Progress) -> None:
        """Go through the rows, a page in a transaction."""
        kinds = (kind.plural for kind in self._store.domain.kinds)
        section = report.section(self._store.domain.name, kinds)
        for page in self._pages():
            with self._store.transaction() if run is not None else contextlib.nullcontext():
                broken = [row for row in page if read_row(self._kind, row).record is None]
                section.count(self._kind.plural, "read", len(page))
                section.count(self._kind.plural, "valid", len(page) - len(broken))
                for row in self._again(broken) if run is not None else broken:
                    self._mend(row, section, run)
                if run is not None and broken:  # should the run end early, the ledger tells what it has mended
                    Run.objects.filter(pk=run.pk).update(counts=counts_of(report))
            progress(len(page))

    def _mend(self, row: _Values, section: Section, run: Run | None) -> None:
        key, changes = tuple(row[name] for name in self._kind.key_fields), list[Finding]()
        path, old = f"{self._kind.plural} {key_text(key)}", self._as_json(row)
        record = mend(self._kind, old, new_id=None, now=self._now, changes=changes)
        if record is None or record.key != key or record.owner != row["user_id"]:
            section.count(self._kind.plural, "rejected")
            section.findings.append(error(path, "nothing valid can be made of it; it stays as it is"))
            return
        section.count(self._kind.plural, "mended")
        if not isinstance(row["extra"], dict | None):
            changes.append(warning(ROOT, "the column extra holds no object; left out"))
        what = "mended" if run is not None else "would be mended"
        section.findings += [warning(path, f"{what}: {one.path}: {one.message}") for one in changes]
        if run is not None:
            self._store.load([(record, row["position"])], run.uid)
            self._keep(run, key, row, digest(record))

    def _keep(self, run: Run, key: Key, row: _Values, after: str) -> None:
        """Note what stood in the columns: to be read by people, for no record can be made of it again."""
        before = {name: row[name] for name in columns(self._kind)}
        Change.objects.using(self._store.using).create(
            run=run,
            domain=self._store.domain.name,
            kind=self._kind.plural,
            key=key_text(key),
            before=msgspec.json.encode({"columns": before}, enc_hook=str).decode(),
            before_run=row["run_id"],
            before_position=row["position"],
            after=after,
        )
        refresh_once_saved(self._store.domain, self._kind, [key], self._store.using)

    def _as_json(self, row: _Values) -> _Values:
        printed = {name: row[attribute] for attribute, name in field_names(self._kind) if row[attribute] is not None}
        extra = row["extra"] if isinstance(row["extra"], dict) else {}
        plain: _Values = msgspec.to_builtins(extra | printed)
        return plain

    def _pages(self) -> Iterator[list[_Values]]:
        if self._wanted is not None:
            for keys in batched(self._wanted, _PAGE):
                yield self._of(keys)
            return
        rows, names = self._rows().order_by(*self._kind.key_fields), self._kind.key_fields
        after: Key | None = None
        while page := list((rows if after is None else rows.filter(beyond(names, after, "gt")))[:_PAGE]):
            yield page
            after = tuple(page[-1][name] for name in names)

    def _of(self, keys: list[Key]) -> list[_Values]:
        return [row for where in by_keys(self._kind, keys) for row in self._rows().filter(where)]

    def _again(self, broken: list[_Values]) -> list[_Values]:
        """Return rows as they are now, locked, as far as they are still broken."""
        keys = [tuple(row[name] for name in self._kind.key_fields) for row in broken]
        locked = self._store.rows(self._kind, keys, lock=True)
        return self._of([key for key, row in locked.items() if row.record is None])

    def _rows(self) -> Any:
        model = self._store.domain.models[self._kind]
        return model._base_manager.using(self._store.using).values(*columns(self._kind), "position", "run_id")


def _key(text: str) -> Key:
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError as problem:
        raise OrbError("a key is a JSON list of texts, as the ledger has it; nothing was done") from problem
