"""Claims on the due times of policies: each due time runs once, is kept alive by heartbeats, and is finished or failed.

A claim is one conditional UPDATE, so that any number of hosts can try; the host that changes the row has the claim. The
row of the run, unique by policy and due time, is written in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from orbsite.models.retention import PolicyRun, PolicyState, RetentionPolicy
from orbsite.operations.workers.heartbeat import MonitoredProgress
from orbsite.storage.sql.retry import TransactionRetry


@dataclass(frozen=True, slots=True)
class Claim:
    """A due time of a policy that this worker has claimed."""

    policy: RetentionPolicy
    """The policy at the time of the claim, with its rules."""
    run: PolicyRun
    was_due: datetime | None
    started_before: datetime | None
    state_before: str

    @property
    def _claimed_row(self) -> Any:
        return RetentionPolicy.objects.filter(pk=self.policy.pk, claimed_by=self.run.worker)

    def beat(self, moment: datetime, watched: MonitoredProgress) -> bool:  # noqa: ARG002 -- a heartbeat holds no progress
        """Save a heartbeat. Return whether the claim still holds."""
        return bool(self._claimed_row.update(heartbeat=moment))

    def finish(self, state: str, now: datetime, *, result: Any = None, error: str = "") -> bool:
        """Save the result of the run and release the claim. Return whether the claim still held."""
        free: dict[str, Any] = {"claimed_by": "", "claimed_at": None, "heartbeat": None}
        last = {"last_finished": now, "last_state": state, "last_result": result, "last_error": error}

        def end() -> bool:
            if not self._claimed_row.update(**free, **last):
                return False
            PolicyRun.objects.filter(pk=self.run.pk).update(state=state, finished_at=now, result=result, error=error)
            return True

        return TransactionRetry("default").run(end)

    def put_back(self) -> None:
        """Undo the claim, because another run holds the lock. The policy is due again at once."""
        before = {"last_started": self.started_before, "last_state": self.state_before, "next_due": self.was_due}

        def undo() -> None:
            if self._claimed_row.update(claimed_by="", claimed_at=None, heartbeat=None, **before):
                PolicyRun.objects.filter(pk=self.run.pk).delete()

        TransactionRetry("default").run(undo)


def due(now: datetime) -> list[RetentionPolicy]:
    """Return the policies that are due and not running, longest due first."""
    waiting = RetentionPolicy.objects.filter(Q(next_due=None) | Q(next_due__lte=now), enabled=True, claimed_by="")
    return sorted(waiting, key=lambda one: (one.next_due is not None, one.next_due or now, one.pk))


def claim(policy: RetentionPolicy, worker: str, now: datetime) -> Claim | None:
    """Claim the due time of a policy. Return None where another worker was first or the due time has run already.

    Due times that were missed since are coalesced into this one. Raises InvalidPolicy for an unknown time zone.
    """
    moment = policy.next_due or now
    missed, following = policy.schedule.coalesced(moment, now)
    seen: dict[str, Any] = {name: getattr(policy, name) for name in RetentionPolicy.SCHEDULE}
    seen |= {"next_due__isnull": True} if policy.next_due is None else {"next_due": policy.next_due}

    def take() -> PolicyRun | None:
        free = RetentionPolicy.objects.filter(pk=policy.pk, enabled=True, claimed_by="", **seen)
        if PolicyRun.objects.filter(policy=policy, slot=moment).exists():
            free.update(next_due=following)
            return None
        mine = {"claimed_by": worker, "claimed_at": now, "heartbeat": now, "next_due": following}
        if not free.update(**mine, last_started=now, last_state=PolicyState.RUNNING):
            return None
        return PolicyRun.objects.create(policy=policy, slot=moment, missed=missed, worker=worker, started_at=now)

    run = TransactionRetry("default").run(take)
    if run is None:
        return None
    current = RetentionPolicy.objects.get(pk=policy.pk)
    return Claim(current, run, policy.next_due, policy.last_started, policy.last_state)


def fail_unclaimed(policy: RetentionPolicy, now: datetime, error: str) -> None:
    """Save why a due policy could not be claimed. It stays due."""
    last = {"last_finished": now, "last_state": PolicyState.FAILED, "last_error": error}
    RetentionPolicy.objects.filter(pk=policy.pk, claimed_by="").update(**last)


def recover(now: datetime, stale_after: timedelta) -> Iterator[RetentionPolicy]:
    """Fail the runs whose workers have stopped sending heartbeats, and yield their policies, which are free again."""
    for policy in RetentionPolicy.objects.exclude(claimed_by="").filter(heartbeat__lt=now - stale_after):
        error = f"its worker {policy.claimed_by} has sent no heartbeat since {policy.heartbeat}; the next run continues"

        def fail(policy: RetentionPolicy = policy, error: str = error) -> int:
            dead = RetentionPolicy.objects.filter(
                pk=policy.pk, claimed_by=policy.claimed_by, heartbeat=policy.heartbeat
            )
            failed = {"last_state": PolicyState.FAILED, "last_finished": now, "last_error": error}
            if dead.update(claimed_by="", claimed_at=None, heartbeat=None, **failed):
                runs = PolicyRun.objects.filter(policy=policy, state=PolicyState.RUNNING)
                return runs.update(state=PolicyState.FAILED, finished_at=now, error=error)
            return 0

        if TransactionRetry("default").run(fail):
            yield policy
