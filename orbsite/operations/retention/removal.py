"""What a policy would remove of one kind in one store: found out, told of, and refused where it is too much."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from orbsite.models.ledger import Change, Run
from orbsite.operations.files.compact import MOST
from orbsite.operations.ledger.change_log import key_text
from orbsite.operations.ledger.runs import counts_of
from orbsite.operations.progress import Progress, Stopped
from orbsite.operations.report import Report, Section
from orbsite.storage.base.store import Store
from orbsite.storage.encoding.timestamps import as_name, spell
from orbsite.storage.errors import ClockJumped, OrbError, TooMuch
from orbsite.storage.file.content import no_collection
from orbsite.storage.file.retention import planned, sweep
from orbsite.storage.file.store import FileStore
from orbsite.storage.file.tombstones import Tombstones, tombstone
from orbsite.storage.filesystem.directory import numbered
from orbsite.storage.findings import Finding, unreadable, warning
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.record import Key, Record
from orbsite.storage.retention.future_records import Dated, Future
from orbsite.storage.retention.plan import Plan
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.retention.deletion import retention_deletion
from orbsite.storage.sql.retention.tombstones import LedgerTable
from orbsite.storage.sql.retry import TransactionRetry
from orbsite.storage.sql.store import SqlStore

FORCE, TRUST_CLOCK = "--force", "--trust-clock"
"""The flags that switch off a guard each."""
_LISTED = 10_000
_NAMED = 3
"""So many records an error names; the findings name more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchedOffGuards:
    """Which guards somebody has switched off, each by a flag of its own."""

    force: bool = False
    """Remove more than a fifth."""
    trust_clock: bool = False
    """Believe the clock, whatever speaks against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a removal is to be done."""

    actor: str
    sure: SwitchedOffGuards
    deadline: float | None
    """The moment of a monotonic clock after which no other batch is begun."""
    pause: float
    """The seconds between batches."""


class Removal(ABC):
    """What goes of one kind in one store."""

    section: Section

    def __init__(self, store: Store, kind: type[Record], policy: Policy, moment: datetime) -> None:
        self.store, self.kind, self.policy, self.moment = store, kind, policy, moment
        self.total = self.number = 0
        self.future = Future()
        self.noted: datetime | None = None
        """When the last run over this data was, as far as that is noted."""

    @abstractmethod
    def look(self, *, exactly: bool) -> None:
        """Find out what goes; where that is found out again before it goes, only if asked to."""

    @abstractmethod
    def remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        """Remove it, each record after its tombstone."""

    @abstractmethod
    def going(self) -> Iterator[tuple[Key, str]]:
        """Yield the keys of what goes, and why."""

    def close(self) -> None:  # noqa: B027 -- memory has nothing to forget
        """Forget what was found out."""

    def refuse(self, sure: SwitchedOffGuards) -> None:
        """Raise ClockJumped or TooMuch where nobody should remove this without being sure."""
        for why, _ in self._objections(sure):
            raise why

    def tell(self, sure: SwitchedOffGuards) -> None:
        """Say what would go, and why."""
        self._count(0)
        listed = list(islice(self.going(), _LISTED))
        findings = self.section.findings
        findings += [warning(f"{self.kind.plural} {key_text(key)}", f"would go: {why}") for key, why in listed]
        if self.number > len(listed):
            more = f"{self.number - len(listed)} more would go; --explain ID tells of any of them"
            findings.append(warning(self.kind.plural, more))
        for problem, flag in self._objections(sure):
            findings.append(warning(self.kind.plural, f"nothing would go without {flag}: {problem}"))
        self._tell_of_the_future()
        self.section.facts["would_go"] = self.section.facts.get("would_go", 0) + self.number

    def _count(self, removed: int) -> None:
        name = self.kind.plural
        self.section.count(name, "read", self.total)
        self.section.count(name, "kept", self.total - removed)
        self.section.count(name, "removed", removed)

    def _objections(self, sure: SwitchedOffGuards) -> Iterator[tuple[OrbError, str]]:
        """Yield why nothing should go, and the flag that says that it should all the same."""
        problem = (
            None if sure.trust_clock else clock_problem(self.kind, self.policy, self.moment, self.future, self.noted)
        )
        if problem is not None:
            yield problem, TRUST_CLOCK
        too_much = None if sure.force else self._too_much()
        if too_much is not None:
            yield too_much, FORCE

    def _too_much(self) -> TooMuch | None:
        if self.number <= MOST * self.total:
            return None
        return TooMuch(
            f"{self.number} of {self.total} {self.kind.plural} would go, more than a fifth; nothing was removed. "
            f"Look at them with --dry-run, and run this again with {FORCE}"
        )

    def _tell_of_the_future(self) -> None:
        """Name records from the future, which stay."""
        self.section.findings += findings_of_the_future(self.kind, self.future)

    def _left(self, number: int, why: str) -> None:
        if number:
            self.section.findings.append(warning(self.kind.plural, f"{number} {why}"))


def clock_problem(
    kind: type[Record], policy: Policy, moment: datetime, future: Future, noted: datetime | None
) -> ClockJumped | None:
    """Return why this machine's clock is not to be believed; None where nothing speaks against it.

    One record from the future is no reason: the clock of whoever wrote it may have been wrong.
    """
    ahead = policy.ahead(moment)
    if ahead is None:
        return None
    end = f"nothing was removed. Set the clock; where it is right, run this again with {TRUST_CLOCK}"
    if noted is not None and noted > ahead:
        return ClockJumped(
            f"it is {spell(moment)}, and the last run was at {spell(noted)}: the clock has jumped back; {end}"
        )
    if not future.is_widespread:
        return None
    named = ", ".join(_named(kind, one) for one in future.some[:_NAMED])
    more = f" and {future.number - _NAMED} more" if future.number > _NAMED else ""
    return ClockJumped(
        f"it is {spell(moment)}, and most of the newest {kind.plural} are from the future ({named}{more}): the clock "
        f"has jumped back, or these are wrong; {end}"
    )


def findings_of_the_future(kind: type[Record], future: Future) -> list[Finding]:
    """Return a warning for each of the newest records from the future, and one for how many more there are."""
    found = [
        warning(
            f"{kind.plural} {key_text(one.key)}",
            f"is of {spell(one.moment)}, in the future (user {one.user!r}): it stays; correct its time, or remove it",
        )
        for one in future.some
    ]
    if future.number > len(found):
        found.append(warning(kind.plural, f"{future.number - len(found)} more are from the future, and stay"))
    return found


def _named(kind: type[Record], one: Dated) -> str:
    return f"{kind.plural} {key_text(one.key)} of user {one.user!r}, {spell(one.moment)}"


_FIRST, _LEAST, _MOST = 2000, 100, 50_000
"""How many rows a batch has."""
_ALONE, _SHARED = 0.6, 0.4
"""Seconds that a batch may take, for which others wait: while nobody else writes, and while somebody does."""
_WAKING = 0.01
"""Seconds to wake up in; whoever waits sleeps for no more than half of what it has waited."""


class SinglePassRemoval(Removal):
    """In memory or in a file: one pass."""

    _plan: Plan | None = None

    store: MemoryStore | FileStore

    def look(self, *, exactly: bool) -> None:
        """Plan."""
        if exactly:
            self._take(planned(self.store, self.kind, self.policy, self.moment))

    def going(self) -> Iterator[tuple[Key, str]]:
        """Yield what was planned."""
        return ((one.record.key, one.reason) for one in (self._plan.tombstones if self._plan else ()))

    def tell(self, sure: SwitchedOffGuards) -> None:
        """Say what would go, and what cannot."""
        super().tell(sure)
        self._tell_of_others()

    def remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        """Remove everything at once."""
        with no_collection():
            self._remove(report, terms, progress)

    def _remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        before = self.store.size()

        def write_tombstones(plan: Plan) -> None:
            self._take(plan)
            self.refuse(terms.sure)
            if plan.tombstones:
                report.tombstones.append(self._write_tombstones(plan, terms.actor))

        if self.store.count(self.kind):
            sweep(self.store, self.kind, self.policy, self.moment, write_tombstones)
        else:  # nothing is made where there is nothing
            self.look(exactly=True)
        self._count(self.number)
        self._tell_of_the_future()
        self._tell_of_others()
        facts = {"before": before, "after": self.store.size()}
        self.section.facts = facts | {"reclaimable": 0}
        progress(self.number)

    def _take(self, plan: Plan) -> None:
        self._plan, self.total, self.number, self.future = plan, plan.total, plan.number, plan.future

    def _tell_of_others(self) -> None:
        plan = self._plan or Plan(self.kind)
        self._left(plan.refused, "items do not decode and were left; validate_orb_files lists them")
        self._left(len(plan.held), "records stay because another item has their key; validate_orb_files lists them")

    def _write_tombstones(self, plan: Plan, actor: str) -> str:
        name = as_name(self.moment)
        if isinstance(self.store, FileStore):
            return Tombstones(self.store.base).write(name, self._lines(plan, actor)).stem
        kept = self.store.recorded_rows
        name = next(one for one in numbered(name) if one not in kept)
        kept[name] = list(plan.tombstones)
        return name

    def _lines(self, plan: Plan, actor: str) -> Iterable[dict[str, Any]]:
        domain, at = self.store.domain, spell(self.moment)
        for one in plan.tombstones:
            yield tombstone(domain, one.record, reason=one.reason, position=one.position, actor=actor, at=at)


class BatchedRemoval(Removal):
    """In SQL: batches, each in a transaction with its tombstones."""

    store: SqlStore

    def __init__(self, store: SqlStore, kind: type[Record], policy: Policy, moment: datetime) -> None:
        super().__init__(store, kind, policy, moment)
        self._using: str = store.using
        self._deletion = retention_deletion(store.domain.models[kind], store.using, policy, moment)

    def look(self, *, exactly: bool) -> None:  # noqa: ARG002 -- what is noted is what goes
        """Note what goes."""
        found = self._deletion
        found.plan()
        self.total, self.number, self.future = found.total, found.number, found.future
        for key in found.unreadables():
            path = unreadable(self.kind.plural, key, "").path
            self.section.findings.append(warning(path, "its time cannot be read; it stays"))

    def tell(self, sure: SwitchedOffGuards) -> None:
        """Tell what goes, and which rows of it do not decode and so would stay."""
        super().tell(sure)
        self._tell_of_undecodable("it would stay")

    def _tell_of_undecodable(self, what: str) -> None:
        for key in self._deletion.undecodables():
            path = unreadable(self.kind.plural, key, "").path
            self.section.findings.append(warning(path, f"its row in SQL does not decode; {what}"))

    def going(self) -> Iterator[tuple[Key, str]]:
        """Yield what was noted."""
        return self._deletion.reasons()

    def close(self) -> None:
        """Drop the notes."""
        self._deletion.forget()

    def remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        """Remove what was noted, batch by batch, as far as it is still what it was."""
        found, before, size = self._deletion, self.store.size(), _FIRST
        ledger = LedgerTable(Change, report.run or 0, self.store.domain.name, terms.actor, self.moment)
        attempts, counts = TransactionRetry(self._using), self.section
        self._count(0)
        progress.expect(self.number)
        passed = 0
        with progress.heeded(), self.store.loading(before):
            while to := found.next(size):
                began = time.monotonic()
                removed = attempts.run(lambda: self._batch(to, ledger, report))
                found.done(to)
                passed = min(passed + size, self.number)
                self._gone(counts.counts[self.kind.plural], removed)
                progress(removed)
                if progress.is_stopping:
                    raise Stopped("interrupted; what was removed so far is kept as tombstones: run it again to go on")
                took = time.monotonic() - began
                seconds = _SHARED if found.is_shared() else _ALONE
                size = max(_LEAST, min(_MOST, int(size * min(2.0, seconds / max(took, 1e-3)))))
                if terms.deadline is not None and time.monotonic() > terms.deadline:
                    break
                time.sleep(max(terms.pause, min(found.rest, _WAKING + took / 2)))
        self._tell_of_the_future()
        removed = counts.counts[self.kind.plural]["removed"]
        self._left(self.number - passed, "more would go: the time is up; run it again to go on")
        if passed > removed or found.has_struck:
            self._tell_of_undecodable("it stays")
        self._left(passed - removed, "stay: they were changed meanwhile, or do not decode")
        counts.facts |= {"before": before, "after": self.store.size(), "reclaimable": found.reclaimable()}

    def _batch(self, to: int, ledger: LedgerTable, report: Report) -> int:
        """Remove a batch, and note in the same transaction how far the run is."""
        removed, counts = self._deletion.remove(to, ledger), counts_of(report)
        self._gone(counts[self.store.domain.name][self.kind.plural], removed)
        Run.objects.filter(pk=ledger.run).update(counts=counts)
        return removed

    def _gone(self, counts: MutableMapping[str, int], removed: int) -> None:
        counts["removed"] += removed
        counts["kept"] -= removed
