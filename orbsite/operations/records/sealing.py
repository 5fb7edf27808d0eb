"""Seals the private texts in the database, opens them again, and seals the data keys of users with another key."""

from __future__ import annotations

import json
from typing import Any

from django.db import connections, models, transaction
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from orbsite.conf import app_settings
from orbsite.models.idempotency import Answer
from orbsite.models.jobs import Job
from orbsite.models.ledger import OF_CELLS, Change, Reject
from orbsite.models.sealed_text import UNOPENED, SealedModel, open_text, prepare_to_seal, seal_text
from orbsite.models.user_keys import UserKey, rewrap
from orbsite.operations.ledger.detached_partitions import detached_of
from orbsite.operations.ledger.erased_rows import clear_away, enable_secure_delete
from orbsite.operations.ledger.text_search import holds_bytes
from orbsite.operations.progress import Progress
from orbsite.operations.report import Report, Section
from orbsite.runtime.home import program
from orbsite.search.indexer import SearchIndex, is_off, is_searched
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.storage.findings import Finding, error, unreadable, warning
from orbsite.storage.records.domain import Domain, registered
from orbsite.storage.records.record import Record
from orbsite.storage.records.sealed_columns import begins_sealed, private_columns, reseal_rows
from orbsite.storage.sealing.cells import PLAIN, SEALED, escaped
from orbsite.storage.sql.models import JSONColumn, column_of, key_of
from orbsite.storage.sql.raw_columns import be_lenient, raw_rows

DATABASE = "database"
"""The section of reports about the database."""
KEYS = "data keys"
_PAGE = 500
_TEXTS: tuple[tuple[type[SealedModel], str], ...] = ((Change, "before"), (Reject, "original"), (Answer, "body"))
"""The tables that keep copies of records, with the columns that hold them."""
_TEXTS_OF_DOMAINS = _TEXTS[:2]
"""Those of them whose rows name a domain."""
_LEFT = "a text in it could not be opened, or was changed meanwhile; it was left as it is"


def seal_database(
    report: Report, domains: list[Domain], *, apply: bool, unseal: bool, progress: Progress, using: str = "default"
) -> None:
    """Seal the private texts of all rows, or with `unseal`, open them; add what was done to the report.

    A page of rows is one transaction, and rows that are as wanted are not written, so that a run goes on where an
    earlier one was interrupted. Without `apply`, nothing is written. Raises KeyUnavailable, and OrbError where
    retention has detached partitions, whose rows are sealed or opened only when they are back.
    """
    _refuse_detached(domains, using)
    tables = [model._meta.verbose_name_plural for model, _ in _TEXTS]
    kinds = [(domain, kind) for domain in domains for kind in domain.kinds if kind.private_fields]
    section = report.section(DATABASE, [*(kind.plural for _, kind in kinds), *map(str, tables)])
    written = "written" if apply else "to write"
    if apply:
        enable_secure_delete(using)
    for domain, kind in kinds:
        table = _Table(domain, kind, using)
        _work_through(table, section, kind.plural, written, progress, apply=apply, unseal=unseal)
        if apply and is_searched(kind) and is_off(kind) and not unseal:
            SearchIndex(domain, kind, using).go_on(utc_now)  # removes the words
    is_all = len(domains) == len(registered())
    for model, column in _TEXTS if is_all else _TEXTS_OF_DOMAINS:
        copies = _Copies(model, column, using, None if is_all else domains)
        _work_through(copies, section, copies.name, written, progress, apply=apply, unseal=unseal)
    if apply and not progress.is_stopping:
        if not unseal:
            Job.objects.using(using).filter(samples__isnull=False).update(samples=None)  # they hold texts
        elif is_all and not section.total("left"):
            _remove_keys(section, domains, using)
        _purge(section, using)


def _refuse_detached(domains: list[Domain], using: str) -> None:
    runs = sorted({one.partition.run or 0 for one in detached_of(domains, using)})
    if runs:
        raise OrbError(
            f"retention has detached partitions whose rows would not be sealed or opened, in the runs {runs}; nothing "
            "was written. Undo these runs, or wait until ORB_UNDO_DAYS have passed and maintenance has dropped them"
        )


def _remove_keys(section: Section, domains: list[Domain], using: str) -> None:
    """Remove the data keys if no sealed text is left. Writers that would seal one wait meanwhile."""
    with transaction.atomic(using):
        connection = connections[using]
        if connection.vendor == "postgresql":  # SQLite has one writer at a time
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE orb_user_keys IN ACCESS EXCLUSIVE MODE")
        if any(_number_of(domain, kind, using, is_sealed=True) for domain in domains for kind in domain.kinds) or any(
            _copies_that_hold(model, column, using).exists() for model, column in _TEXTS
        ):
            what = "texts were sealed meanwhile; stop the servers that have keys, then run it again"
            section.count(KEYS, "left")
            section.findings.append(error(DATABASE, what))
            return
        UserKey.objects.using(using).filter(destroyed_at=None).delete()


def _copies_that_hold(model: type[SealedModel], column: str, using: str) -> Any:
    """Return the rows of a table of copies that have a sealed text."""
    rows = model._base_manager.using(using)
    if column == "body":
        return rows.filter(holds_bytes(column, [SEALED.encode()]))
    is_printed = Q(**{f"{column}__contains": OF_CELLS}) & Q(**{f"{column}__contains": SEALED})
    return rows.filter(Q(**{f"{column}__startswith": SEALED}) | is_printed)


def _purge(section: Section, using: str) -> None:
    """Remove earlier versions of the rows from the files, where the database can do that."""
    if not section.total("written"):
        return
    clear_away(using)
    if connections[using].vendor == "postgresql":
        what = "earlier versions of rows stay in its files until they are overwritten; run: VACUUM FULL"
        section.findings.append(warning(DATABASE, what))
    elif not connections[using].in_atomic_block:
        with connections[using].cursor() as cursor:
            cursor.execute("VACUUM")


def rotate_data_keys(report: Report, *, apply: bool, progress: Progress, using: str = "default") -> None:
    """Seal the data keys of users with the first key; the texts that they seal are not written.

    Raises KeyUnavailable, DocumentCorrupt for a data key that was changed.
    """
    packing = app_settings.packing()
    if packing.active is None:
        raise OrbError("no keys are configured; set ORB_KEYS or ORB_KEY_FILE, the new key first")
    section = report.section(DATABASE, [KEYS])
    others = UserKey.objects.using(using).filter(destroyed_at=None).exclude(wrapped_by=packing.active.id)
    progress.expect(others.count())
    if not apply:
        section.count(KEYS, "to write", others.count())
        return
    with progress.heeded():
        while not progress.is_stopping and (number := rewrap(list(others.order_by("pk")[:_PAGE]), packing, using)):
            section.count(KEYS, "written", number)
            progress(number)


def tell_data_keys(report: Report, domains: list[Domain], using: str = "default") -> None:
    """Count the data keys that each key seals, and the rows with plain texts where keys are configured."""
    packing = app_settings.packing()
    section = report.section(DATABASE, [KEYS, "rows"])
    keys = UserKey.objects.using(using)
    counts = keys.filter(destroyed_at=None).order_by("wrapped_by").values_list("wrapped_by")
    for name, number in counts.annotate(number=models.Count("pk")):
        section.facts[f"key {name}: data keys"] = number
        is_right = packing.active is not None and name == packing.active.id
        section.count(KEYS, "as configured" if is_right else "not as configured", number)
        if not is_right:
            what = "rotate_orb_keys --apply" if packing.active is not None else "seal_orb_data --unseal --apply"
            section.findings.append(
                error(DATABASE, f"{number} data keys are sealed with the key {name}; run: {program()} {what}")
            )
    section.facts["destroyed data keys"] = keys.exclude(destroyed_at=None).count()
    if packing.active is None:
        return
    plain = [
        (kind.plural, _number_of(domain, kind, using, is_sealed=False)) for domain in domains for kind in domain.kinds
    ]
    plain += [(str(model._meta.verbose_name_plural), _plain_copies(model, column, using)) for model, column in _TEXTS]
    for name, number in plain:
        if number:
            section.count("rows", "not as configured", number)
            what = f"{number} {name} are not sealed; run: {program()} seal_orb_data --apply"
            section.findings.append(error(DATABASE, what))


def _plain_copies(model: type[SealedModel], column: str, using: str) -> int:
    """Return the number of rows of a table of copies with a plain text."""
    sealed = _copies_that_hold(model, column, using).values("pk")
    rows = model._base_manager.using(using).exclude(pk__in=sealed).iterator(_PAGE)
    return sum(row.sealed_place() is not None and bool(row.__dict__[column]) for row in rows)


def _number_of(domain: Domain, kind: type[Record], using: str, *, is_sealed: bool) -> int:
    """Return the number of rows with a sealed column, or with a plain one."""
    model, found = domain.models[kind], Q()
    for name in private_columns(kind):
        is_json = isinstance(column_of(model, name), JSONColumn)
        begins = Q(**{f"text_{name}__startswith": f'{{"{SEALED.rstrip(":")}"' if is_json else SEALED})
        found |= Q(**{f"{name}__isnull": False}) & (begins if is_sealed else ~begins)
    texts = {f"text_{name}": Cast(name, TextField()) for name in private_columns(kind)}
    return int(model._base_manager.using(using).annotate(**texts).filter(found).count()) if texts else 0


def _work_through(
    table: _Table | _Copies, section: Section, name: str, written: str, progress: Progress, *, apply: bool, unseal: bool
) -> None:
    after: Any = None
    with progress.heeded():
        while not progress.is_stopping:
            with transaction.atomic(table.using):
                rows = table.page(after)
                changed, left = table.reseal(rows, unseal=unseal, apply=apply)
                if not apply:
                    transaction.set_rollback(True, using=table.using)  # the data keys that were made for the preview
            section.count(name, written, changed)
            section.count(name, "left", len(left))
            section.findings += left
            progress(len(rows))
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]


class _Copies:
    """The rows of a table that keeps copies of records."""

    def __init__(self, model: type[SealedModel], column: str, using: str, domains: list[Domain] | None) -> None:
        """The rows are those of these domains, or all."""
        self._model, self._column, self.using = model, column, using
        self._domains = None if domains is None else [domain.name for domain in domains]
        self.name = str(model._meta.verbose_name_plural)

    def page(self, after: Any) -> list[tuple[Any, Any]]:
        """Return the next rows, each with its primary key before it."""
        rows: Any = self._model._base_manager.using(self.using).order_by("pk")
        rows = rows if self._domains is None else rows.filter(domain__in=self._domains)
        rows = rows if after is None else rows.filter(pk__gt=after)
        return [(row.pk, row) for row in rows[:_PAGE]]

    def reseal(self, rows: list[tuple[Any, Any]], *, unseal: bool, apply: bool) -> tuple[int, list[Finding]]:
        """Write the texts that are not as wanted; return how many, and findings about those that were left."""
        changed, left = 0, list[Finding]()
        if not unseal:
            prepare_to_seal([row for _, row in rows], self.using)
        for pk, row in rows:
            stored = row.__dict__[self._column]
            old = bytes(stored).decode() if isinstance(stored, bytes | memoryview) else stored
            new = self._opened(row, old) if unseal else self._sealed(row, old)
            if new is None:
                left.append(error(f"{self.name} {pk}", _LEFT))
            elif new != old:
                changed += 1
                if apply:
                    value = new if isinstance(stored, str) else new.encode()
                    self._model._base_manager.using(self.using).filter(pk=pk).update(**{self._column: value})
        return changed, left

    def _sealed(self, row: Any, old: str) -> str | None:
        if old.startswith(SEALED) or not old or row.sealed_place() is None:
            return old
        text = row.plain_text(old.removeprefix(PLAIN), refuses_plain=False)
        return None if text in UNOPENED else seal_text(row, text)

    def _opened(self, row: Any, old: str) -> str | None:
        if SEALED not in old:
            return old
        is_whole = old.startswith(SEALED)
        text = open_text(row, old) if is_whole else row.plain_text(old.removeprefix(PLAIN), refuses_plain=False)
        return None if text in UNOPENED else escaped(text)


class _Table:
    """The raw rows of one table."""

    def __init__(self, domain: Domain, kind: type[Record], using: str) -> None:
        self._kind, self.using, self._model = kind, using, domain.models[kind]
        private = private_columns(kind)
        self._is_json = {name: isinstance(column_of(self._model, name), JSONColumn) for name in private}
        self._names = (*dict.fromkeys(("user_id", *kind.key_fields)), *private)

    def page(self, after: Any) -> list[tuple[Any, ...]]:
        """Return the primary keys and the columns of the next rows."""
        rows = self._model._base_manager.using(self.using).order_by("pk")
        rows = rows if after is None else rows.filter(pk__gt=after)
        be_lenient(connections[self.using])
        return list(raw_rows(rows, ("pk", "digest", *self._names))[:_PAGE])

    def reseal(self, rows: list[tuple[Any, ...]], *, unseal: bool, apply: bool) -> tuple[int, list[Finding]]:
        """Write the rows that are not as wanted; return how many, and findings about those that were left."""
        changed, left = 0, list[Finding]()
        made = reseal_rows(self._kind, self._names, [row[2:] for row in rows], self.using, unseal=unseal)
        for (pk, digest, *old), new in zip(rows, made, strict=True):
            private = [cell for cell in new[-len(self._is_json) :] if cell is not None]
            is_as_wanted = all(begins_sealed(cell) is not unseal for cell in private)
            if tuple(old) != new and is_as_wanted:
                is_as_wanted = not apply or self._write(pk, digest, old, new)
                changed += is_as_wanted
            left += [] if is_as_wanted else [self._left(old)]
        return changed, left

    def _write(self, pk: Any, digest: Any, old: list[Any], new: tuple[Any, ...]) -> bool:
        """Replace the private columns of a row, unless its record was changed meanwhile."""
        try:
            values = {
                name: json.loads(cell) if self._is_json[name] else cell
                for name, before, cell in zip(self._names, old, new, strict=True)
                if before != cell
            }
        except ValueError:  # what was sealed is no JSON
            return False
        rows = self._model._base_manager.using(self.using).filter(pk=pk, digest=digest)
        return bool(rows.update(**values))

    def _left(self, row: list[Any]) -> Finding:
        return unreadable(self._kind.plural, key_of(self._kind, dict(zip(self._names, row, strict=True))), _LEFT)
