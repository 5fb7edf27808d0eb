"""Records each batch of a run, in the batch's transaction: replaced rows, rejected entries, counts and the position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from orbsite.models.ledger import Change, Reject, Run
from orbsite.models.sealed_text import prepare_to_seal
from orbsite.operations.ledger.runs import counts_of
from orbsite.operations.report import Report, Section
from orbsite.storage.base.store import StoredRecord
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.encoding.json_printer import compact, stringify
from orbsite.storage.findings import Finding, errors, printable
from orbsite.storage.records.changes import Put, as_json
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain, Entry
from orbsite.storage.records.record import Record


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did with one entry."""

    entry: Entry
    what: str
    row: StoredRecord[Record] | None
    record: Record | None
    findings: tuple[Finding, ...]


class ChangeLog:
    """The log of a run for one domain."""

    def __init__(self, run: Run, report: Report, domain: Domain) -> None:
        self._run, self._report, self._domain = run, report, domain

    @property
    def done(self) -> int:
        """The number of entries that the run has processed."""
        return int(self._run.cursor.get(self._domain.name, 0))

    def note(self, outcomes: Iterable[Outcome], section: Section, part: Section, entries: int) -> None:
        """Record a batch of `entries` entries. `part` has its counts, `section` those of earlier batches."""
        self.keep(outcomes)
        so_far = Section({kind: counts.copy() for kind, counts in section.counts.items()})
        so_far.take(Section(part.counts))
        counts = counts_of(self._report) | {
            self._domain.name: {kind: dict(counts) for kind, counts in so_far.counts.items()}
        }
        cursor = self._run.cursor | {self._domain.name: self.done + entries}
        Run.objects.filter(pk=self._run.pk).update(cursor=cursor, counts=counts)
        self._run.cursor = cursor

    def keep(self, outcomes: Iterable[Outcome]) -> None:
        """Record replaced rows and rejected entries. A batch can be recorded in parts, to save memory."""
        outcomes = list(outcomes)
        changes = [self._change(one) for one in outcomes if one.what == "replaced"]
        rejects = [self._reject(one) for one in outcomes if _is_to_be_kept(one)]
        prepare_to_seal([*changes, *rejects], "default")
        Change.objects.bulk_create(changes)
        Reject.objects.bulk_create(rejects)

    def settle(self, paths: Iterable[str] | None = None) -> None:
        """Settle the open rejects of earlier runs over the same source, which this run has imported or rejected again.

        With `paths`, only the rejects at these paths.
        """
        runs = Run.of_source(self._run.source).filter(pk__lt=self._run.pk)
        if not runs.exists():  # beside many other sources, their open rejects are not searched
            return
        older = Reject.objects.filter(domain=self._domain.name, settled_by=None, run__in=runs.order_by().values("pk"))
        for path in (None,) if paths is None else paths:
            (older if path is None else older.filter(path=path)).update(settled_by=self._run)

    def _change(self, outcome: Outcome) -> Change:
        row, record = outcome.row, outcome.record
        if row is None or row.record is None or record is None:
            raise TypeError(outcome)
        return Change(
            run=self._run,
            domain=self._domain.name,
            kind=type(record).plural,
            key=key_text(record.key),
            before=compact(as_json(Put(row.record))).decode(),
            before_run=row.run,
            before_position=row.position,
            after=digest(record),
        )

    def _reject(self, outcome: Outcome) -> Reject:
        entry = outcome.entry
        return Reject(
            run=self._run,
            domain=self._domain.name,
            kind=entry.kind.plural if entry.kind else "",
            path=entry.path,
            reason="; ".join(f"{one.path}: {one.message}" for one in errors(outcome.findings)),
            original=original(entry),
            owner=UNCLEAN.sub("", self._domain.layout.owner_of(entry) or ""),
        )


def _is_to_be_kept(outcome: Outcome) -> bool:
    return outcome.what == "rejected" and not outcome.entry.is_erased


def key_text(key: tuple[str, ...]) -> str:
    """Return a record's key as the ledger stores it."""
    return msgspec.json.encode(tuple(map(printable, key))).decode()


def record_name(kind: type[Record], key: tuple[str, ...]) -> str:
    """Return the name of a record in messages: its kind and its key."""
    return f"{kind.plural} {key_text(key)}"


def open_rejects(domain: Domain, source: str) -> set[str]:
    """Return the paths of a source's rejects that no later run has settled."""
    runs = Run.of_source(source).order_by().values("pk")
    rejects = Reject.objects.filter(domain=domain.name, settled_by=None, run__in=runs)
    return set(rejects.values_list("path", flat=True))


def original(entry: Entry) -> str:
    """Return the JSON of an entry, unchanged where the entry is not a record."""
    value = entry.value if entry.record is None else entry.record
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    return stringify(value.as_json() if isinstance(value, Record) else value).decode()
