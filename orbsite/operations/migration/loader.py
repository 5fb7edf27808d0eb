"""Loads entries into a store, one transaction at a time: each is new, unchanged, replaced, kept or rejected."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from orbsite.operations.ledger.change_log import ChangeLog, Outcome
from orbsite.operations.migration.batches import SIZE, Batch, batches_of
from orbsite.operations.migration.ownership import Owners
from orbsite.operations.migration.peers import Peers, rank
from orbsite.operations.migration.prepared import SharedFlag, Source, prepared
from orbsite.operations.migration.preview import Preview
from orbsite.operations.progress import Progress, Stopped, silent
from orbsite.operations.report import Section
from orbsite.storage.base.store import LedgerStore, RecordBatch, StoredRecord
from orbsite.storage.errors import Conflict, OrbError
from orbsite.storage.file.content import no_collection
from orbsite.storage.findings import Finding, error, warning
from orbsite.storage.records.checksum import Sums
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Entry
from orbsite.storage.records.record import Key, Record

_ATTEMPTS = 5
_LOADED = ("new", "replaced")


class Loader:
    """Loads the entries of one domain in a run. Without a run, it only reports what would be written."""

    def __init__(
        self,
        target: LedgerStore,
        run: int | None,
        section: Section,
        *,
        progress: Progress = silent,
        change_log: ChangeLog | None = None,
        samples: Preview | None = None,
        owners: Owners | None = None,
        peers: Peers | None = None,
    ) -> None:
        self._peers = peers
        self._target, self._run, self._section = target, run, section
        self._owners = owners or Owners(target)
        self._progress, self._change_log, self._samples = progress, change_log, samples
        self.written: dict[type[Record], Sums] = {kind: Sums() for kind in target.domain.kinds}
        """The checksums of the written records, to verify them at the end."""
        self._has_old = SharedFlag()  # whether a record was not new

    def all(
        self,
        source: Source,
        *,
        part: int = SIZE,
        transaction: int = SIZE,
        size: int = 0,
        again: Callable[[], Source] | None = None,
    ) -> None:
        """Load all entries that the change log lacks: `part` entries at a time, `transaction` entries per transaction.

        The source has about `size` bytes; `again` returns it once more. The change log is saved in the same
        transaction. Raises Stopped after the transaction in which a stop was requested.
        """
        done = self._change_log.done if self._change_log else 0
        run = self._run_if_all_new
        batches = prepared(source, self._target, part=part, done=done, run=run, size=size, again=again)
        with self._progress.heeded(), no_collection(), self._target.loading(size), batches as made:
            for first in made:
                if first.is_done:
                    self._owners.settle(first.open)
                    self._progress(first.items)
                    continue
                self._transaction(first, made, transaction)
                if self._progress.is_stopping:
                    raise Stopped("interrupted; the records loaded so far are kept. Run it again to continue")

    def _transaction(self, part: Batch | None, more: Iterator[Batch], most: int) -> None:
        """Load a batch, and more while they are small, all or nothing.

        If the source fails, the entries that were read before the failure are saved.
        """
        found, problem = Section(), None
        entries = items = 0
        with self._target.transaction() if self._run is not None else contextlib.nullcontext():
            while part is not None:
                outcomes = self._part(part, found)
                if self._change_log is not None:
                    self._change_log.keep(outcomes)
                entries, items = entries + part.size, items + part.items
                enough = entries >= most or self._progress.is_stopping
                try:
                    part = None if enough else next(more, None)
                except OrbError as raised:
                    part, problem = None, raised
            if self._change_log is not None:
                self._change_log.note((), self._section, found, entries)
        self._section.take(found)
        self._progress(items)
        if problem is not None:
            raise problem

    def _part(self, part: Batch, section: Section) -> list[Outcome]:
        """Load a batch. If another writer takes a key at the same time, classify the whole batch again."""
        for attempt in range(1, _ATTEMPTS + 1):
            found = Section()
            try:
                with self._target.transaction() if self._run is not None else contextlib.nullcontext():
                    outcomes, written = self._classified(part, found)
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
            else:
                section.take(found)
                for kind, sums in written:
                    self.written[kind].merge(sums)
                return outcomes
        raise TypeError(_ATTEMPTS)

    def _classified(self, part: Batch, section: Section) -> tuple[list[Outcome], list[tuple[type[Record], Sums]]]:
        section.findings += part.findings
        settled = self._owners.settle(part.open)
        section.findings += [finding for entry in settled for finding in entry.findings]
        to_compare = [*part.rest, *(entry for entry in settled if entry.copy)]
        written: list[tuple[type[Record], Sums]] = []
        of_settled = Batch(0, batches=batches_of((one for one in settled if not one.copy), self._target))
        for one in (part, of_settled):
            for at in range(len(one.batches)):
                to_compare += self._in_bulk(one, at, section, written)
        outcomes = self._compare_rows(to_compare, section)
        loaded = [(one.record, one.entry.position) for one in outcomes if one.what in _LOADED and one.record]
        if loaded and self._run is not None:
            self._target.load(loaded, self._run)
            written += [(type(record), _sum_of(record)) for record, _ in loaded]
        return outcomes, written

    def _in_bulk(self, part: Batch, at: int, section: Section, written: list[tuple[type[Record], Sums]]) -> list[Entry]:
        """Insert the new records of one kind in a batch; return the entries that differ from their rows."""
        batch, entries = part.batches[at]
        kind, number = batch.kind, len(entries)
        if self._run is not None and not self._has_old.is_set and self._all_new(batch, number, self._run):
            section.count(kind.plural, "read", number)
            section.count(kind.plural, "new", number)
            written.append((kind, batch.sums(range(number))))
            return []
        if batch.rows is not None:  # they were prepared in the hope that all records are new
            batch, entries = part.with_records(at)
        comparison = self._target.compare(batch)
        new, differing = comparison.free, comparison.other
        if new or differing:
            batch, entries = part.with_records(at)
        for what, some in (("new", len(new)), ("unchanged", number - len(new) - len(differing))):
            section.count(kind.plural, "read", some)
            section.count(kind.plural, what, some)
        if self._samples is not None:
            self._samples.take_new(kind, new, entries)
        if new and self._run is not None:
            self._target.insert(batch, new, self._run)
            written.append((kind, batch.sums(new)))
        return [entries[one] for one in differing]

    def _run_if_all_new(self) -> int | None:
        """Return the run if all its records may still be new, and None otherwise."""
        return None if self._has_old.is_set else self._run

    def _all_new(self, batch: RecordBatch, number: int, run: int) -> bool:
        """Insert a batch without a comparison. After a first conflict, no other batch is inserted this way."""
        try:
            with self._target.transaction():
                self._target.insert(batch, range(number), run)
        except Conflict:
            self._has_old.set()
        return not self._has_old.is_set

    def _compare_rows(self, entries: list[Entry], section: Section) -> list[Outcome]:
        rows, outcomes = self._rows(entries), []
        for entry in entries:
            if entry.kind is None:
                raise TypeError(entry)
            row = rows.get((entry.kind, entry.record.key)) if entry.record else None
            what, record, findings = classify(entry, row, self._peers)
            section.findings += findings
            section.count(entry.kind.plural, "read")
            section.count(entry.kind.plural, what)
            outcomes.append(Outcome(entry, what, row, record, (*entry.findings, *findings)))
        if self._samples is not None:
            self._samples.take(outcomes)
        return outcomes

    def _rows(self, entries: list[Entry]) -> dict[tuple[type[Record], Key], StoredRecord[Record]]:
        keys: dict[type[Record], list[Key]] = {}
        for entry in entries:
            if entry.record is not None:
                keys.setdefault(type(entry.record), []).append(entry.record.key)
        lock = self._run is not None
        found = ((kind, self._target.rows(kind, wanted, lock=lock)) for kind, wanted in keys.items())
        return {(kind, key): row for kind, rows in found for key, row in rows.items()}


def _sum_of(record: Record) -> Sums:
    found = Sums()
    found.add(record.owner, digest(record))
    return found


def classify(
    entry: Entry, row: StoredRecord[Record] | None, peers: Peers | None = None
) -> tuple[str, Record | None, list[Finding]]:
    """Return the outcome of an entry whose key a row may have: its name, the record to write, and the findings."""
    record, path = entry.record, entry.path
    if record is None:
        return "rejected", None, []
    if entry.copy or row is None:
        return ("unchanged" if entry.copy else "new"), record, []
    if row.record is None:
        return "rejected", None, [error(path, "the row in SQL does not decode, and was left as it is")]
    if record.user_id != row.record.user_id:  # only for kinds whose keys do not hold the user
        return "rejected", None, [error(path, "its key belongs to another user in SQL")]
    if digest(record) == digest(row.record):
        return "unchanged", record, []
    other = None if peers is None else peers.writer_of(row)
    return (
        _classify_versions(record, row.record, path, as_left=row.as_left)
        if other is None
        else _classify_peers(record, row.record, path, other)
    )


def _classify_peers(record: Record, old: Record, path: str, other: str) -> tuple[str, Record, list[Finding]]:
    """Compare a record with the row that another directory has written; which one stays is the same in any order."""
    is_ours = rank(record) > rank(old)
    what = "this one replaced it" if is_ours else "that one was kept"
    finding = warning(path, f"{other} has another record with this key; {what}")
    return "replaced" if is_ours else "kept", record, [finding]


def _classify_versions(record: Record, old: Record, path: str, *, as_left: bool) -> tuple[str, Record, list[Finding]]:
    if record.version_field is None:
        if as_left:
            return "replaced", record, []
        return "kept", record, [warning(path, "the row in SQL was changed since it was migrated; it was kept")]
    new_version, old_version = getattr(record, record.version_field), getattr(old, record.version_field)
    if new_version > old_version:
        return "replaced", record, []
    how = "is newer" if new_version < old_version else "differs and has the same time"
    return "kept", record, [warning(path, f"the row in SQL {how}; it was kept")]
