"""Applies a retention policy to one user: removes only that user's records, and keeps them for the undo window."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from orbsite.operations.files.compact import too_much
from orbsite.operations.ledger.change_log import record_name
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.progress import Progress, silent
from orbsite.operations.records.delete import remove
from orbsite.operations.report import Report, Section
from orbsite.operations.retention.removal import clock_problem, findings_of_the_future
from orbsite.storage.errors import OrbError
from orbsite.storage.findings import warning
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import Key, Record
from orbsite.storage.retention.evaluate import RetentionDecision, decisions
from orbsite.storage.retention.future_records import future_of
from orbsite.storage.retention.policy import Policy, retained
from orbsite.storage.sql.store import SqlStore

COLUMNS = ("read", "kept", "removed")


def trim(
    store: SqlStore,
    policy: Policy,
    user: str,
    *,
    now: Callable[[], datetime],
    actor: str = "",
    dry_run: bool = False,
    force: bool = False,
    trust_clock: bool = False,
    progress: Progress = silent,
) -> Report:
    """Remove a user's records that a policy does not keep, as a run over all users would, or report them.

    Where several users share a session, all its records count, and only this user's are removed. All records of a kind
    are removed, or none. Raises InvalidPolicy; ClockJumped unless `trust_clock`; TooMuch unless `force`. Nothing is
    removed then.
    """
    report, moment = Report(columns=COLUMNS), now()
    progress.tells_of(report)
    for kind in retained(store.domain):
        policy.check(kind)
        section = report.section(store.domain.name, (kind.plural for kind in retained(store.domain)))
        mine = store.find(kind, {"user_id": user})
        progress.expect(len(mine))
        going = _going(store, kind, mine, policy, moment)
        _report(section, kind, mine, going, dry_run=dry_run)
        future = future_of(kind, mine, policy.ahead(moment))
        section.findings += findings_of_the_future(kind, future)
        clock = None if trust_clock else clock_problem(kind, policy, moment, future, None)
        advice = "nothing was removed. Check them in a preview, then use force"
        excess = None if force else too_much(len(going), len(mine), kind.plural, advice)
        for why, when in ((clock, "the clock is trusted"), (excess, "it is forced")):
            if why is not None and not dry_run:
                raise why
            if why is not None:
                section.findings.append(warning(kind.plural, f"nothing would go unless {when}: {why}"))
        if going and not dry_run:
            reason = f"a policy for one user: {'; '.join(sorted({one.reason for one in going}))}"
            hand = Actor(actor=actor, at=moment, reason=reason[:200])
            by_key = {one.key: one for one in mine}
            still = {one.key: digest(by_key[one.key]) for one in going}
            removed = remove(store, kind, still, hand=hand, still=still)
            report.run = removed.run
            _count_as_kept(section, kind, removed.domains[store.domain.name].total("missing"))
        progress(len(mine))
    if not report.domains:
        raise OrbError(f"{store.domain.name} has no records that retention applies to; choose another policy")
    return report


def _going(
    store: SqlStore, kind: type[Record], mine: list[Any], policy: Policy, moment: datetime
) -> list[RetentionDecision[Any]]:
    group = kind.group_field or ""
    around: dict[Key, Any] = {one.key: one for one in mine}
    for name in sorted({getattr(one, group) for one in mine}):
        around |= {one.key: one for one in store.find(kind, {group: name})}
    own = {one.key for one in mine}
    return [one for one in decisions(kind, around.values(), policy, moment) if not one.keep and one.key in own]


def _report(
    section: Section, kind: type[Record], mine: list[Any], going: list[RetentionDecision[Any]], *, dry_run: bool
) -> None:
    removed = 0 if dry_run else len(going)
    section.count(kind.plural, "read", len(mine))
    section.count(kind.plural, "kept", len(mine) - removed)
    section.count(kind.plural, "removed", removed)
    what = "would go" if dry_run else "went into the undo window"
    section.findings += [warning(record_name(kind, one.key), f"{what}: {one.reason}") for one in going]
    if dry_run:
        section.facts["would_go"] = section.facts.get("would_go", 0) + len(going)


def _count_as_kept(section: Section, kind: type[Record], number: int) -> None:
    """Count records that were changed or removed by others meanwhile as kept."""
    section.count(kind.plural, "removed", -number)
    section.count(kind.plural, "kept", number)
    if number:
        section.findings.append(warning(kind.plural, f"{number} were changed meanwhile, and were left as they are"))
