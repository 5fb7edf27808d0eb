"""What retention removes of one kind in one store, each record buried before it goes: in one pass, or in batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, MutableMapping
from datetime import datetime
from typing import Any

from orbsite.models.ledger import Change, Run
from orbsite.operations.ledger.runs import counts_of
from orbsite.operations.progress import Progress, Stopped
from orbsite.operations.report import Report
from orbsite.operations.retention.removal import Sure, Terms, Weighed
from orbsite.storage.encoding.timestamps import as_name, spell
from orbsite.storage.file.content import no_collection
from orbsite.storage.file.retention import planned, sweep
from orbsite.storage.file.store import FileStore
from orbsite.storage.file.tombstones import Tombstones, tombstone
from orbsite.storage.filesystem.directory import numbered
from orbsite.storage.findings import unreadable, warning
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.record import Key, Record
from orbsite.storage.retention.plan import Plan
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.retention.deletion import condemned
from orbsite.storage.sql.retention.tombstones import Ledger
from orbsite.storage.sql.retry import Attempts
from orbsite.storage.sql.store import SqlStore

_FIRST, _LEAST, _MOST = 2000, 100, 50_000
"""How many rows a batch has."""
_ALONE, _SHARED = 0.6, 0.4
"""Seconds that a batch may take, for which others wait: while nobody else writes, and while somebody does."""
_WAKING = 0.01
"""Seconds to wake up in; whoever waits sleeps for no more than half of what it has waited."""


class InOnePass(Weighed):
    """In memory or in a file: one pass."""

    _plan: Plan | None = None

    store: MemoryStore | FileStore

    def look(self, *, exactly: bool) -> None:
        """Plan."""
        if exactly:
            self._take(planned(self.store, self.kind, self.policy, self.moment))

    def going(self) -> Iterator[tuple[Key, str]]:
        """Yield what was planned."""
        return ((one.record.key, one.reason) for one in (self._plan.graves if self._plan else ()))

    def tell(self, sure: Sure) -> None:
        """Say what would go, and what cannot."""
        super().tell(sure)
        self._tell_of_others()

    def remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        """Remove everything at once."""
        with no_collection():
            self._remove(report, terms, progress)

    def _remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        before = self.store.size()

        def bury(plan: Plan) -> None:
            self._take(plan)
            self.refuse(terms.sure)
            if plan.graves:
                report.tombstones.append(self._bury(plan, terms.actor))

        if self.store.count(self.kind):
            sweep(self.store, self.kind, self.policy, self.moment, bury)
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

    def _bury(self, plan: Plan, actor: str) -> str:
        name = as_name(self.moment)
        if isinstance(self.store, FileStore):
            return Tombstones(self.store.base).write(name, self._lines(plan, actor)).stem
        kept = self.store.buried
        name = next(one for one in numbered(name) if one not in kept)
        kept[name] = list(plan.graves)
        return name

    def _lines(self, plan: Plan, actor: str) -> Iterable[dict[str, Any]]:
        domain, at = self.store.domain, spell(self.moment)
        for one in plan.graves:
            yield tombstone(domain, one.record, reason=one.reason, position=one.position, actor=actor, at=at)


class InBatches(Weighed):
    """In SQL: batches, each in a transaction with its tombstones."""

    store: SqlStore

    def __init__(self, store: SqlStore, kind: type[Record], policy: Policy, moment: datetime) -> None:
        super().__init__(store, kind, policy, moment)
        self._using: str = store.using
        self._condemned = condemned(store.domain.models[kind], store.using, policy, moment)

    def look(self, *, exactly: bool) -> None:  # noqa: ARG002 -- what is noted is what goes
        """Note what goes."""
        found = self._condemned
        found.plan()
        self.total, self.number, self.future = found.total, found.number, found.future
        for key in found.unreadables():
            path = unreadable(self.kind.plural, key, "").path
            self.section.findings.append(warning(path, "its time cannot be read; it stays"))

    def tell(self, sure: Sure) -> None:
        """Tell what goes, and which rows of it do not decode and so would stay."""
        super().tell(sure)
        self._tell_of_undecodable("it would stay")

    def _tell_of_undecodable(self, what: str) -> None:
        for key in self._condemned.undecodables():
            path = unreadable(self.kind.plural, key, "").path
            self.section.findings.append(warning(path, f"its row in SQL does not decode; {what}"))

    def going(self) -> Iterator[tuple[Key, str]]:
        """Yield what was noted."""
        return self._condemned.reasons()

    def close(self) -> None:
        """Drop the notes."""
        self._condemned.forget()

    def remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        """Remove what was noted, batch by batch, as far as it is still what it was."""
        found, before, size = self._condemned, self.store.size(), _FIRST
        ledger = Ledger(Change, report.run or 0, self.store.domain.name, terms.actor, self.moment)
        attempts, counts = Attempts(self._using), self.section
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

    def _batch(self, to: int, ledger: Ledger, report: Report) -> int:
        """Remove a batch, and note in the same transaction how far the run is."""
        removed, counts = self._condemned.remove(to, ledger), counts_of(report)
        self._gone(counts[self.store.domain.name][self.kind.plural], removed)
        Run.objects.filter(pk=ledger.run).update(counts=counts)
        return removed

    def _gone(self, counts: MutableMapping[str, int], removed: int) -> None:
        counts["removed"] += removed
        counts["kept"] -= removed
