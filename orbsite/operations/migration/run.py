"""One run that loads a source into SQL: recorded in the ledger, resumable, and verified."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from orbsite.models.ledger import Run
from orbsite.operations.backup import create
from orbsite.operations.ledger.change_log import ChangeLog, open_rejects
from orbsite.operations.ledger.erasure_list import known, refused
from orbsite.operations.ledger.runs import AtEnd, alone, begin, last_complete, recorded
from orbsite.operations.migration import batches
from orbsite.operations.migration.file_source import Source
from orbsite.operations.migration.loader import Loader
from orbsite.operations.migration.ownership import Owners, is_open
from orbsite.operations.migration.peers import Peers
from orbsite.operations.migration.preview import Preview
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.storage.base.erasures import ErasureList
from orbsite.storage.file.erasure import without_erased
from orbsite.storage.findings import ROOT, error
from orbsite.storage.records.domain import Domain, Entry, Span, flattened
from orbsite.stores import open_sql_store

COLUMNS = ("read", "new", "unchanged", "replaced", "kept", "rejected")
_PART_BYTES = 1 << 20
_PARTS, _TRANSACTIONS = 4, 10
"""The minimum of batches per transaction, and the approximate number of transactions. Each one rewrites index pages."""


class Transfer:
    """A run of an operation over one source."""

    def __init__(
        self,
        source: Source,
        domains: list[Domain],
        operation: str,
        *,
        now: Callable[[], datetime],
        progress: Progress = silent,
        peers: Peers | None = None,
    ) -> None:
        self._source, self._domains, self._operation, self._peers = source, domains, operation, peers
        self._now, self._progress = now, progress
        self._targets = {domain.name: open_sql_store(domain) for domain in domains}
        self._erasures = ErasureList()
        self._report = Report(columns=COLUMNS, bad=("rejected", "unverified"))
        progress.tells_of(self._report)

    def look(self) -> Report:
        """Report the outcome of each record without writing."""
        self._erasures = known(self._source.base)
        for domain in self._domains:
            section, (part, _, size) = self._report.section_of(domain), self._sizes(domain)
            samples = Preview(domain, self._report.samples)
            target, owners = self._targets[domain.name], self._owners(domain)
            work = Loader(
                target, None, section, progress=self._progress, samples=samples, owners=owners, peers=self._peers
            )
            work.all(self._entries(domain, self._wanted(domain)), part=part, size=size)
        return self._report

    def run(
        self,
        backup_to: Path | None = None,
        *,
        resume: bool = False,
        incremental: bool = False,
        lock: Callable[[], contextlib.AbstractContextManager[None]] = alone,
        at_end: AtEnd = lambda _run, _report: None,
    ) -> Report:
        """Load everything, domain by domain, and verify the written records.

        `lock` excludes other runs. `at_end` is called in the transaction that completes the run, and may refuse it.
        """
        source, report = self._source, self._report
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock())
            self._erasures = known(self._source.base)  # the current list: the source was read earlier
            before = last_complete(source.name) if incremental else None
            run = begin(self._operation, source.name, source.digests, self._now(), report, resume=resume)
            stack.enter_context(recorded(run, report, self._now, at_end=at_end))
            if backup_to is not None and not run.cursor:
                self._back_up(run, backup_to)
            for domain in self._domains:
                if before is not None and before.sources.get(domain.name) == source.digests[domain.name]:
                    self._report.section_of(domain).facts["unchanged_since_run"] = before.pk
                else:
                    self._move(domain, run)
        return report

    def _back_up(self, run: Run, to: Path) -> None:
        label = f"before run {run.pk}, {self._operation}"
        documents = self._source.documents and self._without_erased(self._source.documents)
        made = create.take(self._domains, documents, to, now=self._now, label=label)
        self._report.backup, run.backup = made, str(made)
        run.save(update_fields=["backup"])

    def _move(self, domain: Domain, run: Run) -> None:
        section, (part, transaction, size) = self._report.section_of(domain), self._sizes(domain)
        change_log = ChangeLog(run, self._report, domain)
        goes_on, wanted = bool(change_log.done), self._wanted(domain)
        target, owners = self._targets[domain.name], self._owners(domain)
        work = Loader(
            target,
            run.uid,
            section,
            progress=self._progress,
            change_log=change_log,
            owners=owners,
            peers=self._peers,
        )
        again = None if self._source.documents is None else partial(self._entries, domain, wanted)
        work.all(self._entries(domain, wanted), part=part, transaction=transaction, size=size, again=again)
        change_log.settle(wanted)
        self._verify(domain, work, run, section, wanted, everything=goes_on)

    def _verify(
        self, domain: Domain, work: Loader, run: Run, section: Section, wanted: set[str] | None, *, everything: bool
    ) -> None:
        """Compare the written records with SQL. Unchanged records were compared before.

        Where checksums of users differ, or an earlier run has loaded a part, each record is classified once more, and
        none may be left to write.
        """
        target, found = self._targets[domain.name], dict[str, Any]()
        differing: set[str] = set()
        for kind, ours in work.written.items():
            theirs = target.sums(kind, run.uid, ours.of_users) if ours.of_users else ours
            differing.update(ours.differing(theirs))
            found[kind.plural] = {
                "written": ours.records,
                "users": len(ours.of_users),
                "digest": ours.digest,
                "digest_in_sql": theirs.digest,
                "unverified": 0,
            }
        if differing or everything:
            left, entries = Section(), self._entries(domain, wanted)
            entries = entries if everything else _of(entries, differing)
            Loader(target, None, left, owners=self._owners(domain), peers=self._peers).all(entries)
            for name, counts in left.counts.items():
                found[name]["unverified"] = number = counts["new"] + counts["replaced"]
                if number:
                    section.count(name, "unverified", number)
                    section.findings.append(
                        error(ROOT, f"{number} {name} are not in SQL as they were read; run this again")
                    )
        run.verification = (run.verification or {}) | {domain.name: found}
        run.save(update_fields=["verification"])

    def _owners(self, domain: Domain) -> Owners:
        return Owners(self._targets[domain.name], partial(self._source.entries, domain))

    def _wanted(self, domain: Domain) -> set[str] | None:
        """Return the paths of the items to retry; None for all."""
        return open_rejects(domain, self._source.name) if self._operation == Run.Operation.RETRY else None

    def _entries(self, domain: Domain, wanted: Collection[str] | None) -> Iterator[Entry | Span]:
        entries, source = self._source.spans(domain), partial(self._source.entries, domain)
        chosen = entries if wanted is None else (entry for entry in flattened(entries) if entry.path in wanted)
        return refused(domain, self._erasures, chosen, source)

    def _without_erased(self, documents: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        """Return the documents without the data erased since they were read."""
        domains = {domain.name: domain for domain in self._domains}
        return {
            name: data and without_erased(domains[name], data, self._erasures)[0] for name, data in documents.items()
        }

    def _sizes(self, domain: Domain) -> tuple[int, int, int]:
        """Return the entries per batch and per transaction, and the size in bytes; announce the number of records."""
        records, size = self._source.expected(domain)
        self._progress.expect(records)
        of_bytes = _PART_BYTES * max(records, 1) // max(size, 1)
        return max(1, min(batches.SIZE, of_bytes)), max(_PARTS * batches.SIZE, records // _TRANSACTIONS), size


def _of(entries: Iterator[Entry | Span], users: Collection[str]) -> Iterator[Entry]:
    return (one for one in flattened(entries) if is_open(one) or (one.record is not None and one.record.owner in users))
