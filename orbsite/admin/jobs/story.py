"""The story of a job or a run in sentences: who did what and when, how long it took, how it ended, what is next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orbsite.admin.base.ages import exactly, lasting
from orbsite.admin.jobs.next_step import Step, after, to_form
from orbsite.models.jobs import OPEN, Job, JobState
from orbsite.models.ledger import Change, Run, RunState
from orbsite.operations.jobs import catalog
from orbsite.operations.jobs.parameters import is_look

_DEEDS = {
    "migrate": "a migration of the files into SQL",
    "import": "an import of a database into SQL",
    "retry": "a retry of rejected records",
    "verify": "a comparison of the files with SQL",
    "rollback": "a rollback",
    "validate": "a validation of the files",
    "check": "a check of the files for damage",
    "repair": "a repair of the files",
    "compact": "a compaction",
    "cleanup": "a clean-up",
    "export": "an export",
    "backup": "a backup",
    "preview": "a preview of a retention policy",
    "maintain": "maintenance",
    "measure": "a count of all records",
    "sanitize": "a repair of rows in SQL",
    "upgrade": "an upgrade of rows in SQL",
    "upgrade-rows": "an upgrade of rows in SQL",
    "upgrade-files": "an upgrade of the files",
    "erase": "the erasure of a user",
    "index": "an update of the search index",
    "undo": "the restoration of what a run had removed",
    "edit": "an edit by hand",
    "remove": "a removal by hand",
    "restore": "a restoration by hand",
}
_JOBS_OF_RUNS = {"retry": "migrate", "undo": "compact", "upgrade": "upgrade-rows"}
"""The operations of the jobs that write runs, where they have another name."""
_TRIES = 5
_LONG_WAIT = 5.0
"""The seconds in the queue from which a story mentions them."""
_ENDS: dict[str, str] = {
    RunState.RUNNING: "It is marked as running",
    RunState.INTERRUPTED: "It was interrupted, and what it had done is kept",
    RunState.FAILED: "It failed, and what it had done is kept",
    RunState.ROLLED_BACK: "It was rolled back",
    JobState.QUEUED: "It is waiting for a worker",
    JobState.CANCELLED: "It was cancelled, and what it had done is kept",
}


@dataclass(frozen=True, slots=True)
class Story:
    """What happened, in sentences, and what is next."""

    sentences: list[str]
    step: Step


def of_run(run: Run, user: Any) -> Story:
    """Return the story of a run in the ledger."""
    totals = _totals(run)
    last = [_ended(run.state, totals), *_verified(run)]
    sentences = [_begun(_actor_of(run), _DEEDS.get(run.operation, run.operation), run.started_at)]
    if run.started_at and run.finished_at:
        sentences.append(f"It took {lasting((run.finished_at - run.started_at).total_seconds())}.")
    operation = _JOBS_OF_RUNS.get(run.operation, run.operation)
    if run.state == RunState.COMPLETE:
        return Story([*sentences, *last], after(operation, totals, user))
    if run.state == RunState.ROLLED_BACK:
        return Story([*sentences, *last], to_form(user, "Nothing is left of it.", operation, "Start it anew…"))
    return Story(
        [*sentences, *last], to_form(user, "Start it again: it continues where it stopped.", operation, "Start…")
    )


def of_job(job: Job, user: Any, now: datetime) -> Story:
    """Return the story of a job; while it is queued or running, the page shows how far it is."""
    kind = catalog.OPERATIONS.get(job.operation)
    looks = kind is not None and is_look(kind, job.arguments)
    deed = _DEEDS.get(job.operation, job.operation)
    sentences = [_begun(job.actor, f"a preview of {deed}" if looks else deed, job.created_at), *_taken(job, now)]
    if job.state in OPEN:
        return Story(sentences, Step(""))
    totals = _totals_of_result(job.result or {})
    sentences.append(_ended(job.state, totals, would=looks))
    if job.state != JobState.DONE:
        return Story(sentences, Step("Read what is said above, then start it again."))
    if looks:
        return Story(sentences, Step("Nothing was written. Look at the records below, then start it with the button."))
    return Story(sentences, after(job.operation, totals, user))


def _begun(actor: str, deed: str, moment: datetime) -> str:
    return f"{actor or 'A command'} started {deed} on {exactly(moment)}."


def _taken(job: Job, now: datetime) -> Iterator[str]:
    if job.started_at is None:
        return
    waited = (job.started_at - job.created_at).total_seconds()
    wait = f", after it had waited {lasting(waited)} for a worker" if waited > _LONG_WAIT else ""
    if job.finished_at is not None:
        yield f"It took {lasting((job.finished_at - job.started_at).total_seconds())}{wait}."
    elif job.state == JobState.RUNNING:
        yield f"It has been running for {lasting(max(0.0, (now - job.started_at).total_seconds()))}{wait}."


def _ended(state: str, totals: Mapping[str, int], *, would: bool = False) -> str:
    """Return how it ended and what it counted, such as that it is complete, with 3 read and 2 new."""
    numbers = ", ".join(f"{number:,} {what.replace('_', ' ')}" for what, number in totals.items() if number)
    begin = _ENDS.get(state, "It would have this result" if would else "It is complete")
    return f"{begin}: {numbers}." if numbers else f"{begin}{', and changes nothing' if would else ''}."


def _verified(run: Run) -> Iterator[str]:
    found = [counts for kinds in (run.verification or {}).values() for counts in kinds.values()]
    if found and run.state == RunState.COMPLETE:
        left = sum(int(counts.get("unverified", 0)) for counts in found)
        if left:
            yield f"{left:,} records are not in SQL as they were read."
        else:
            yield "The written records were read back, and they are equal to the source."


def _totals(run: Run) -> Counter[str]:
    totals: Counter[str] = Counter()
    for kinds in run.counts.values():
        for counts in kinds.values():
            totals.update(counts)
    return totals


def _totals_of_result(result: Mapping[str, Any]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for section in (result.get("domains") or {}).values():
        for counts in (section.get("kinds") or {}).values():
            totals.update(counts)
    return totals


def _actor_of(run: Run) -> str:
    """Return who started a run: the one of its job, or of a change by hand; empty for a command."""
    operation = _JOBS_OF_RUNS.get(run.operation, run.operation)
    if operation not in catalog.OPERATIONS:
        return str(Change.objects.filter(run=run).values_list("actor", flat=True).first() or "")
    jobs = Job.objects.filter(operation=operation, started_at__lte=run.started_at).order_by("-id")
    found = list(jobs.values_list("actor", "result__run")[:_TRIES])
    return next((actor for actor, number in found if number == run.pk), "")
