"""Applies a retention policy: removes the records that it does not keep, each after its tombstone is written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import datetime

import msgspec
from django.db import connections

from orbsite.models.ledger import Run, RunState
from orbsite.operations.files.compact import note_compaction
from orbsite.operations.ledger.change_log import key_text
from orbsite.operations.ledger.runs import alone, begin, recorded
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report
from orbsite.operations.retention.partition_removal import PartitionedRemoval
from orbsite.operations.retention.removal import BatchedRemoval, Removal, SinglePassRemoval, SwitchedOffGuards, Terms
from orbsite.operations.statistics.stats import COMPACT
from orbsite.storage.base.store import Store
from orbsite.storage.errors import InvalidPolicy, OrbError
from orbsite.storage.file.last_runs import Facts
from orbsite.storage.findings import warning
from orbsite.storage.partitions import is_partitioned
from orbsite.storage.postgresql.session import own_session
from orbsite.storage.records.record import Record
from orbsite.storage.retention.evaluate import decisions
from orbsite.storage.retention.policy import Policy, retained
from orbsite.storage.sql.store import SqlStore

COLUMNS = ("read", "kept", "removed")


def retain(
    stores: list[Store],
    policy: Policy,
    *,
    now: Callable[[], datetime],
    dry_run: bool = False,
    force: bool = False,
    trust_clock: bool = False,
    budget: float | None = None,
    pause: float = 0.0,
    explain: str | None = None,
    actor: str = "",
    progress: Progress = silent,
) -> Report:
    """Remove the records that a policy does not keep from each store; with `dry_run`, report them with their reasons.

    With `explain`, report only whether and why the records with this id would stay. `budget` is the number of seconds
    after which no other batch begins in SQL, `pause` the seconds between batches. Records become tombstones before they
    are removed: in SQL under the run, otherwise under the names in the report. Raises InvalidPolicy; ClockJumped unless
    `trust_clock`; and TooMuch where more than a fifth of a store's records would be removed, unless `force`. Nothing is
    removed then.
    """
    moment, kinds = now(), [(store, kind) for store in stores for kind in kinds_with_retention(store, policy)]
    if explain is not None:
        return _explain(kinds, policy, moment, explain)
    report, deadline = Report(columns=COLUMNS), None if budget is None else time.monotonic() + budget
    progress.tells_of(report)
    sure = SwitchedOffGuards(force=force, trust_clock=trust_clock)
    terms = Terms(actor=actor, sure=sure, deadline=deadline, pause=pause)
    with contextlib.ExitStack() as stack:
        enter_sessions(stack, stores)
        removals = [removal_of(store, kind, policy, moment) for store, kind in kinds]
        for one in removals:
            stack.callback(one.close)
            one.section = report.section(one.store.domain.name, (kind.plural for kind in retained(one.store.domain)))
            one.last_run_at = last_run_at(one.store)
            one.find_records(exactly=dry_run or len(removals) > 1)
            if not dry_run:
                one.refuse(sure)
        if dry_run:
            for one in removals:
                one.preview(sure)
            return report
        if any(isinstance(one, BatchedRemoval) for one in removals):
            _begin(stack, report, policy, now)
        for one in removals:
            one.remove(report, terms, progress)
    note_compaction(stores, moment)
    return report


def enter_sessions(stack: contextlib.ExitStack, stores: list[Store]) -> None:
    """Have one session of each database until the end: the rows to remove are listed in temporary tables."""
    for using in {store.database for store in stores if store.database is not None}:
        stack.enter_context(own_session(using))


def _begin(stack: contextlib.ExitStack, report: Report, policy: Policy, now: Callable[[], datetime]) -> None:
    """Begin a run in the ledger. A run that died is marked as failed, and what it removed can be restored."""
    stack.enter_context(alone())
    Run.objects.filter(operation=Run.Operation.COMPACT, state=RunState.RUNNING).update(state=RunState.FAILED)
    rules = msgspec.json.encode(policy.as_json()).decode()
    stack.enter_context(recorded(begin(Run.Operation.COMPACT, rules, {}, now(), report), report, now))


def kinds_with_retention(store: Store, policy: Policy) -> list[type[Record]]:
    """Return the kinds of records in a store that a policy applies to. Raises InvalidPolicy if there are none."""
    kinds = retained(store.domain)
    if not kinds:
        raise InvalidPolicy(f"{store.domain.name} has no records that retention applies to; exclude it with --only")
    for kind in kinds:
        policy.check(kind)
    return kinds


def removal_of(store: Store, kind: type[Record], policy: Policy, moment: datetime) -> Removal:
    """Return the removal of the records of a kind that a policy does not keep; it has not looked for them yet."""
    if store.database is not None:
        has_parts = is_partitioned(connections[store.database], store.domain.models[kind]._meta.db_table)
        removal = PartitionedRemoval if has_parts else BatchedRemoval
        return removal(SqlStore(store.domain, store.database), kind, policy, moment)
    return SinglePassRemoval(store, kind, policy, moment)


def last_run_at(store: Store) -> datetime | None:
    """Return the time of the last operation on a store, from the ledger or from the facts beside its files.

    Only the last one counts: a time from a wrong clock is used until the next operation.
    """
    if store.database is not None:
        last = Run.objects.order_by("-id").first()
        return None if last is None else last.finished_at or last.started_at
    if store.base is not None:
        return Facts(store.base).last(COMPACT, store.domain.name)
    return None


def _explain(kinds: list[tuple[Store, type[Record]]], policy: Policy, moment: datetime, name: str) -> Report:
    """Report why the records with an id stay or go, given the other records of the same session or user."""
    report = Report()
    for store, kind in kinds:
        found = store.find(kind, {kind.key_fields[-1]: name})
        for record in found:
            path = name if len(found) == 1 else key_text(record.key)
            shared = [kind.group_field or ""] + (["user_id"] if policy.keep_last_of_user is not None else [])
            around = {one.key: one for field in shared for one in store.find(kind, {field: getattr(record, field)})}
            for decision in decisions(kind, around.values(), policy, moment):
                if decision.key == record.key:
                    message = f"{'stays' if decision.keep else 'would go'}: {decision.reason}"
                    section = report.section(store.domain.name, ())
                    section.findings.append(warning(f"{kind.plural} {path}", message))
    if not report.domains:
        raise OrbError(
            f"there is no record {name!r} that retention applies to; orb_stats and the admin list the records"
        )
    return report
