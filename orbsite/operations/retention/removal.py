"""Plans, reports and carries out a retention removal of one kind of record in one store, with its safety guards."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any

from typing_extensions import override

from orbsite.models.ledger import Change, Run
from orbsite.operations.files.compact import too_much
from orbsite.operations.ledger.change_log import record_name
from orbsite.operations.ledger.runs import counts_of
from orbsite.operations.progress import Progress, Stopped
from orbsite.operations.report import Report, Section
from orbsite.storage.base.store import Store
from orbsite.storage.encoding.timestamps import as_name, spell
from orbsite.storage.errors import ClockJumped, OrbError
from orbsite.storage.file.content import no_collection
from orbsite.storage.file.retention import keep_tombstones, planned, sweep
from orbsite.storage.file.store import FileStore
from orbsite.storage.file.tombstones import tombstone
from orbsite.storage.findings import Finding, unreadable, warning
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.record import Key, Record
from orbsite.storage.retention.future_records import Future
from orbsite.storage.retention.plan import Plan
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.retention.choice import retention_deletion
from orbsite.storage.sql.retention.tombstones import LedgerTable
from orbsite.storage.sql.retry import TransactionRetry
from orbsite.storage.sql.store import SqlStore

FORCE, TRUST_CLOCK = "--force", "--trust-clock"
"""The options that switch off a guard each."""
_LISTED = 10_000
_NAMED = 3
"""The number of records that an error names; the findings name more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchedOffGuards:
    """The guards that the caller has switched off, each with its own option."""

    force: bool = False
    """Allow the removal of more than a fifth of the records."""
    trust_clock: bool = False
    """Trust the clock even where it seems wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How to carry out a removal."""

    actor: str
    sure: SwitchedOffGuards
    deadline: float | None
    """The time of the monotonic clock after which no other batch begins."""
    pause: float
    """The time between batches in seconds."""


class Removal(ABC):
    """The removal of one kind of record from one store."""

    section: Section

    def __init__(self, store: Store, kind: type[Record], policy: Policy, moment: datetime) -> None:
        self.store, self.kind, self.policy, self.moment = store, kind, policy, moment
        self.total = self.number = 0
        self.future = Future()
        self.last_run_at: datetime | None = None
        """The time of the last run over this data, where it is known."""

    @abstractmethod
    def find_records(self, *, exactly: bool) -> None:
        """Find the records to remove. A removal that finds them again by itself does so only with `exactly`."""

    @abstractmethod
    def remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        """Remove the records, each after its tombstone is written."""

    @abstractmethod
    def to_remove(self) -> Iterator[tuple[Key, str]]:
        """Yield the keys of the records to remove, with the reasons."""

    @abstractmethod
    def per_day(self) -> tuple[Mapping[date, int], Mapping[date, int]]:
        """Return the numbers of all records and of those to remove, by the UTC days of their times."""

    def close(self) -> None:  # noqa: B027 -- most removals have nothing to drop
        """Drop the list of records to remove."""

    def refuse(self, sure: SwitchedOffGuards) -> None:
        """Raise ClockJumped or TooMuch where a guard that is not switched off forbids the removal."""
        for why, _ in self.guard_errors(sure):
            raise why

    def preview(self, sure: SwitchedOffGuards) -> None:
        """Report the records that would be removed, with the reasons."""
        self._count_outcomes(0)
        listed = list(islice(self.to_remove(), _LISTED))
        findings = self.section.findings
        findings += [warning(record_name(self.kind, key), f"would go: {why}") for key, why in listed]
        if self.number > len(listed):
            more = f"{self.number - len(listed)} more would go; --explain ID tells of any of them"
            findings.append(warning(self.kind.plural, more))
        for problem, flag in self.guard_errors(sure):
            findings.append(warning(self.kind.plural, f"nothing would go without {flag}: {problem}"))
        self.section.findings += findings_of_the_future(self.kind, self.future)
        self.section.facts["would_go"] = self.section.facts.get("would_go", 0) + self.number

    def _count_outcomes(self, removed: int) -> None:
        name = self.kind.plural
        self.section.count(name, "read", self.total)
        self.section.count(name, "kept", self.total - removed)
        self.section.count(name, "removed", removed)

    def guard_errors(self, sure: SwitchedOffGuards) -> Iterator[tuple[OrbError, str]]:
        """Yield the error of each guard that forbids the removal, with the option that switches the guard off."""
        problem = (
            None
            if sure.trust_clock
            else clock_problem(self.kind, self.policy, self.moment, self.future, self.last_run_at)
        )
        if problem is not None:
            yield problem, TRUST_CLOCK
        advice = f"nothing was removed. Check them with --dry-run, then run this again with {FORCE}"
        excess = None if sure.force else too_much(self.number, self.total, self.kind.plural, advice)
        if excess is not None:
            yield excess, FORCE

    def _warn_of(self, number: int, why: str) -> None:
        if number:
            self.section.findings.append(warning(self.kind.plural, f"{number} {why}"))


def clock_problem(
    kind: type[Record], policy: Policy, moment: datetime, future: Future, last_run_at: datetime | None
) -> ClockJumped | None:
    """Return the error of this machine's clock; None where the clock seems right.

    A single record from the future is no error: the clock of the machine that wrote it may have been wrong.
    """
    ahead = policy.ahead(moment)
    if ahead is None:
        return None
    end = f"nothing was removed. Set the clock; if it is right, run this again with {TRUST_CLOCK}"
    if last_run_at is not None and last_run_at > ahead:
        return ClockJumped(
            f"it is {spell(moment)}, but the last run was at {spell(last_run_at)}: the clock has jumped back; {end}"
        )
    if not future.is_widespread:
        return None
    some = (f"{record_name(kind, one.key)} of user {one.user!r}, {spell(one.moment)}" for one in future.some)
    named = ", ".join(islice(some, _NAMED))
    more = f" and {future.number - _NAMED} more" if future.number > _NAMED else ""
    return ClockJumped(
        f"it is {spell(moment)}, and most of the newest {kind.plural} are from the future ({named}{more}): the clock "
        f"has jumped back, or their times are wrong; {end}"
    )


def findings_of_the_future(kind: type[Record], future: Future) -> list[Finding]:
    """Return a warning for each of the newest records from the future, and one with the number of the others."""
    found = [
        warning(
            record_name(kind, one.key),
            f"is of {spell(one.moment)}, in the future (user {one.user!r}): it stays; correct its time, or remove it",
        )
        for one in future.some
    ]
    if future.number > len(found):
        found.append(warning(kind.plural, f"{future.number - len(found)} more are from the future, and stay"))
    return found


_FIRST, _LEAST, _MOST = 2000, 100, 50_000
"""The number of rows in a batch: first, at least, at most."""
_ALONE, _SHARED = 0.6, 0.4
"""The maximum duration of a batch in seconds: while no other program writes, and while one does."""
_WAKING = 0.01
"""Seconds for another program to wake up. A waiting program sleeps no longer than half of its waiting time."""


class SinglePassRemoval(Removal):
    """A removal in memory or in a file, in one pass."""

    _plan: Plan | None = None

    store: MemoryStore | FileStore

    @override
    def find_records(self, *, exactly: bool) -> None:
        if exactly:
            self._take(planned(self.store, self.kind, self.policy, self.moment))

    @override
    def to_remove(self) -> Iterator[tuple[Key, str]]:
        return ((one.record.key, one.reason) for one in (self._plan.tombstones if self._plan else ()))

    @override
    def per_day(self) -> tuple[Mapping[date, int], Mapping[date, int]]:
        removed = (one.record for one in (self._plan.tombstones if self._plan else ()))
        return self._days(self.store.walk(self.kind)), self._days(removed)

    def _days(self, records: Iterable[Record]) -> Counter[date]:
        return Counter(getattr(one, str(self.kind.time_field)).date() for one in records)

    @override
    def preview(self, sure: SwitchedOffGuards) -> None:
        super().preview(sure)
        self._report_kept_items()

    @override
    @no_collection()
    def remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        before = self.store.size()

        def write_tombstones(plan: Plan) -> None:
            self._take(plan)
            self.refuse(terms.sure)
            if plan.tombstones:
                report.tombstones.append(self._write_tombstones(plan, terms.actor))

        if self.store.count(self.kind):
            sweep(self.store, self.kind, self.policy, self.moment, write_tombstones)
        else:  # an empty store stays unchanged
            self.find_records(exactly=True)
        self._count_outcomes(self.number)
        self.section.findings += findings_of_the_future(self.kind, self.future)
        self._report_kept_items()
        self.section.facts = {"before": before, "after": self.store.size(), "reclaimable": 0}
        progress(self.number)

    def _take(self, plan: Plan) -> None:
        self._plan, self.total, self.number, self.future = plan, plan.total, plan.number, plan.future

    def _report_kept_items(self) -> None:
        plan = self._plan or Plan(self.kind)
        self._warn_of(plan.refused, "items do not decode and were left; validate_orb_files lists them")
        self._warn_of(len(plan.held), "records stay because another item has their key; validate_orb_files lists them")

    def _write_tombstones(self, plan: Plan, actor: str) -> str:
        return keep_tombstones(self.store, as_name(self.moment), plan, self._lines(plan, actor))

    def _lines(self, plan: Plan, actor: str) -> Iterable[dict[str, Any]]:
        domain, at = self.store.domain, spell(self.moment)
        for one in plan.tombstones:
            yield tombstone(domain, one.record, reason=one.reason, position=one.position, actor=actor, at=at)


class BatchedRemoval(Removal):
    """A removal in SQL, in batches. Each batch is in one transaction with its tombstones."""

    store: SqlStore

    def __init__(self, store: SqlStore, kind: type[Record], policy: Policy, moment: datetime) -> None:
        super().__init__(store, kind, policy, moment)
        self._using: str = store.using
        self._deletion = retention_deletion(store.domain.models[kind], store.using, policy, moment)

    @override
    def find_records(self, *, exactly: bool) -> None:
        found = self._deletion
        found.plan()
        self.total, self.number, self.future = found.total, found.number, found.future
        self._warn_of_rows(found.unreadables(), "its time cannot be read; it stays")

    @override
    def preview(self, sure: SwitchedOffGuards) -> None:
        super().preview(sure)
        self._warn_of_rows(self._deletion.undecodables(), "its row in SQL does not decode; it would stay")

    def _warn_of_rows(self, keys: list[Key], why: str) -> None:
        paths = (unreadable(self.kind.plural, key, "").path for key in keys)
        self.section.findings += [warning(path, why) for path in paths]

    @override
    def to_remove(self) -> Iterator[tuple[Key, str]]:
        return self._deletion.reasons()

    @override
    def per_day(self) -> tuple[Mapping[date, int], Mapping[date, int]]:
        return self._deletion.per_day()

    @override
    def close(self) -> None:
        self._deletion.forget()

    @override
    def remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        found, before, size = self._deletion, self.store.size(), _FIRST
        ledger = LedgerTable(Change, report.run or 0, self.store.domain.name, terms.actor, self.moment)
        attempts, counts = TransactionRetry(self._using), self.section
        self._count_outcomes(0)
        progress.expect(self.number)
        passed = 0
        with progress.heeded(), self.store.loading(before):
            while to := found.next(size):
                began = time.monotonic()
                removed = attempts.run(lambda: self._batch(to, ledger, report))
                found.done(to)
                passed = min(passed + size, self.number)
                self._move_counts(counts.counts[self.kind.plural], removed)
                progress(removed)
                if progress.is_stopping:
                    raise Stopped(
                        "interrupted; the records removed so far are kept as tombstones. Run it again to continue"
                    )
                took = time.monotonic() - began
                seconds = _SHARED if found.is_shared() else _ALONE
                size = max(_LEAST, min(_MOST, int(size * min(2.0, seconds / max(took, 1e-3)))))
                if terms.deadline is not None and time.monotonic() > terms.deadline:
                    break
                time.sleep(max(terms.pause, min(found.rest, _WAKING + took / 2)))
        self.section.findings += findings_of_the_future(self.kind, self.future)
        removed = counts.counts[self.kind.plural]["removed"]
        self._warn_of(self.number - passed, "more would go: the time is up; run it again to go on")
        if passed > removed or found.has_struck:
            self._warn_of_rows(found.undecodables(), "its row in SQL does not decode; it stays")
        self._warn_of(passed - removed, "stay: they were changed meanwhile, or do not decode")
        counts.facts |= {"before": before, "after": self.store.size(), "reclaimable": found.reclaimable()}

    def _batch(self, to: int, ledger: LedgerTable, report: Report) -> int:
        """Remove a batch, and save the counts of the run in the same transaction."""
        removed = self._deletion.remove(to, ledger)
        self._save_counts(removed, report)
        return removed

    def _save_counts(self, removed: int, report: Report) -> None:
        """Save the counts of the run as they are after the caller's transaction, which has removed some records."""
        counts = counts_of(report)
        self._move_counts(counts[self.store.domain.name][self.kind.plural], removed)
        Run.objects.filter(pk=report.run or 0).update(counts=counts)

    def _move_counts(self, counts: MutableMapping[str, int], removed: int) -> None:
        counts["removed"] += removed
        counts["kept"] -= removed
