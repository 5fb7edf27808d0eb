"""Maintenance: runs each due policy once, over any number of hosts. Nothing is removed after a jump of the clock."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from orbsite.models.retention import PolicyState, RetentionPolicy
from orbsite.operations.bulk_migration.queue import replace_lost_workers
from orbsite.operations.progress import Progress, Stopped, silent
from orbsite.operations.report import Report, Section
from orbsite.operations.retention.apply import retain
from orbsite.operations.scheduling import claims
from orbsite.operations.scheduling.claims import Claim
from orbsite.operations.scheduling.clock_guard import SKEW, look, note_day
from orbsite.operations.scheduling.daily import chores
from orbsite.operations.search_index import index_some
from orbsite.operations.workers.heartbeat import SECONDS, MonitoredProgress, heartbeat
from orbsite.operations.workers.queue import hand_over_lost_jobs
from orbsite.operations.workers.workers import STALE_AFTER, a_name, brief, fail_stale_jobs, told
from orbsite.storage.errors import InvalidPolicy, LockTimeout, OrbError
from orbsite.storage.findings import ROOT, error, warning
from orbsite.stores import store_named

COLUMNS = ("due", "run", "failed", "busy", "missed", "refused", "removed")
KIND = "policies"
OWN = "maintenance"
"""The section of the report about the clock and the daily tasks."""
PATIENCE = 10.0
"""The number of seconds for which a policy waits for another run over the same data."""
_PAUSE = 0.2


def maintain(
    *,
    now: Callable[[], datetime],
    only: Collection[str] | None = None,
    worker: str = "",
    stale_after: timedelta = STALE_AFTER,
    patience: float = PATIENCE,
    beat: float = SECONDS,
    trust_clock: bool = False,
    progress: Progress = silent,
) -> Report:
    """Run the due policies and, once a day, the daily tasks, and report each result.

    `only` limits the run to the policies of those domains. After a jump of the clock nothing is done but reporting it;
    with `trust_clock`, the clock is trusted. Runs and jobs of dead workers are failed first. A policy that fails does
    not stop the others.
    """
    report = Report(columns=COLUMNS, bad=("failed", "refused"))
    moment = now()
    status = look(moment, trust=trust_clock)
    if not status.is_trusted:
        _section(report, OWN).count(KIND, "refused")
        _section(report, OWN).findings.append(error(ROOT, status.message))
        return report
    if trust_clock:
        RetentionPolicy.objects.filter(claimed_by="", last_started__gt=moment).update(last_started=None, next_due=None)
    _fail_stale_work(report, moment, stale_after)
    work = _Round(
        report=report,
        now=now,
        worker=worker or a_name(),
        patience=patience,
        beat=beat,
        trust_clock=trust_clock,
        progress=progress,
    )
    refused = _refused(report, moment)
    for policy in claims.due(moment):
        if policy.pk not in refused and (only is None or policy.domain in only) and not progress.is_stopping:
            work.take(policy)
    moment = now()
    if status.day_is_new and not progress.is_stopping and look(moment).is_trusted:
        _run_daily_tasks(_section(report, OWN), moment)
    _index(report, now, only, progress)
    return report


def _fail_stale_work(report: Report, moment: datetime, stale_after: timedelta) -> None:
    """Fail the runs and jobs of dead workers, and queue lost jobs again."""
    for policy in claims.recover(moment, stale_after):
        _fail(
            _section(report, policy.domain),
            policy,
            "its last run did not end, because its worker died; the next run continues",
        )
    if stale := fail_stale_jobs(moment, stale_after):
        _section(report, OWN).facts["jobs_failed"] = stale
    if lost := hand_over_lost_jobs(lambda: moment, stale_after):
        _section(report, OWN).facts["jobs_queued_again"] = lost
    if added := replace_lost_workers(lambda: moment, stale_after):
        _section(report, OWN).facts["bulk_migration_jobs_added"] = added


def _index(report: Report, now: Callable[[], datetime], only: Collection[str] | None, progress: Progress) -> None:
    """Update a part of the search index. After a failure, the next maintenance tries again."""
    if only is not None:
        return
    try:
        if changed := index_some(now, progress=progress):
            _section(report, OWN).facts["words_changed"] = changed
    except Exception as problem:  # noqa: BLE001 -- the policies have run and have to be reported
        _section(report, OWN).count(KIND, "failed")
        _section(report, OWN).findings.append(error(ROOT, f"the search index was not updated: {told(problem)}"))


def _run_daily_tasks(section: Section, moment: datetime) -> None:
    """Run the daily tasks. After a failure, the next maintenance tries again."""
    try:
        section.facts |= chores(lambda: moment)
    except Exception as problem:  # noqa: BLE001 -- it must not stop a policy
        section.count(KIND, "failed")
        section.findings.append(error(ROOT, told(problem)))
    else:
        note_day(moment)


class _Distrusted(OrbError):
    """The clock has jumped since maintenance began."""


@dataclass(frozen=True, kw_only=True)
class _Round:
    """One round of maintenance by one worker."""

    report: Report
    now: Callable[[], datetime]
    worker: str
    patience: float
    beat: float
    trust_clock: bool
    progress: Progress

    def take(self, policy: RetentionPolicy) -> None:
        """Run a due policy, unless another worker runs it."""
        slot = self._claim(policy)
        if slot is None:
            return
        section = _section(self.report, policy.domain)
        section.count(KIND, "due")
        try:
            done = self._run(slot)
        except LockTimeout as problem:
            slot.put_back()
            section.count(KIND, "busy")
            section.findings.append(warning(_path(policy), f"another run is writing; the policy stays due: {problem}"))
        except _Distrusted as problem:
            slot.put_back()
            section.count(KIND, "refused")
            section.findings.append(error(_path(policy), str(problem)))
        except Exception as problem:  # noqa: BLE001 -- a policy must not stop the others
            self._failed(slot, section, told(problem))
        except BaseException as problem:
            had_it = self._failed(slot, section, f"it was stopped ({type(problem).__name__}); the next run continues")
            if had_it or self.progress.is_stopping or not isinstance(problem, Stopped):
                raise
        else:
            self._done(slot, section, done)

    def _claim(self, policy: RetentionPolicy) -> Claim | None:
        try:
            return claims.claim(policy, self.worker, self.now())
        except InvalidPolicy as problem:
            claims.fail_unclaimed(policy, self.now(), str(problem))
            _fail(_section(self.report, policy.domain), policy, str(problem))
            return None

    def _run(self, slot: Claim) -> Report:
        """Apply the policy, and wait for other writers. Raises LockTimeout where the wait takes too long."""
        policy, deadline = slot.policy, time.monotonic() + self.patience
        rules, store = policy.policy, store_named(policy.store, policy.domain)
        with heartbeat(MonitoredProgress(self.progress), slot.beat, self.now, seconds=self.beat) as watched:
            while True:
                if not (status := look(self.now())).is_trusted:
                    raise _Distrusted(status.message)
                try:
                    return retain(
                        [store],
                        rules,
                        now=self.now,
                        force=policy.force,
                        trust_clock=self.trust_clock,
                        actor=f"policy {policy.pk}",
                        progress=watched,
                    )
                except LockTimeout:
                    if time.monotonic() > deadline or watched.is_stopping:
                        raise
                    time.sleep(random.uniform(_PAUSE / 4, _PAUSE))  # noqa: S311 -- keeps two workers out of step

    def _done(self, slot: Claim, section: Section, done: Report) -> None:
        if not slot.finish(PolicyState.DONE, self.now(), result=brief(done)):
            _fail(section, slot.policy, "its worker was considered dead, and another worker has taken the policy over")
            return
        section.count(KIND, "run")
        section.count(KIND, "missed", slot.run.missed)
        section.count(KIND, "removed", sum(part.total("removed") for part in done.domains.values()))

    def _failed(self, slot: Claim, section: Section, message: str) -> bool:
        """Save the failure of a run. Return whether this worker still held the claim."""
        had_it = slot.finish(PolicyState.FAILED, self.now(), error=message)
        _fail(section, slot.policy, message)
        return had_it


def _refused(report: Report, now: datetime) -> set[int]:
    """Report the policies whose last run began in the future, and return their primary keys."""
    ahead = Q(last_started__gt=now + SKEW) | Q(Q(next_due=None) | Q(next_due__lte=now), last_started__gt=now)
    found = list(RetentionPolicy.objects.filter(ahead, enabled=True, claimed_by=""))
    for policy in found:
        section = _section(report, policy.domain)
        section.count(KIND, "refused")
        message = (
            f"its last run began at {policy.last_started}, which is in the future: the clock was set back, and nothing "
            "was removed; where the clock is right now, choose “Run at the next maintenance” in the admin"
        )
        section.findings.append(error(_path(policy), message))
    return {policy.pk for policy in found}


def _section(report: Report, name: str) -> Section:
    return report.section(name, (KIND,))


def _fail(section: Section, policy: RetentionPolicy, message: str) -> None:
    section.count(KIND, "failed")
    section.findings.append(error(_path(policy), message))


def _path(policy: RetentionPolicy) -> str:
    return f"policy {policy.pk}"
