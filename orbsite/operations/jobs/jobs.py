"""Jobs: operations that a worker runs through Django's Tasks framework. A job's row has its progress and stops it.

queued ─→ running ─→ done | failed | cancelled. A job runs once, even if a queue delivers its task several times. A job
whose worker has died is marked as failed by the next check, and can be started again: a migration resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from django.db import IntegrityError, transaction
from django.utils.crypto import salted_hmac

from orbsite.models import audit_log
from orbsite.models.api_tokens import Token
from orbsite.models.jobs import OPEN, Job, JobState
from orbsite.operations.jobs import quota
from orbsite.operations.jobs.catalog import read
from orbsite.operations.jobs.parameters import Place, Request
from orbsite.operations.progress import Stopped
from orbsite.operations.workers.heartbeat import SECONDS, MonitoredProgress, heartbeat
from orbsite.operations.workers.queue import hand_over
from orbsite.operations.workers.workers import a_name, brief, so_far, told
from orbsite.runtime.tasks_compat import task
from orbsite.storage.clock import utc_now
from orbsite.storage.encoding.json_printer import canonical
from orbsite.storage.errors import OrbError
from orbsite.storage.records.sealed_columns import is_sealing
from orbsite.storage.sql.retry import TransactionRetry

MOST_FINDINGS = 1000
NOTED = frozenset(
    {
        "migrate",
        "rollback",
        "sanitize",
        "upgrade-files",
        "upgrade-rows",
        "repair",
        "compact",
        "cleanup",
        "maintain",
        "export",
        "import",
        "erase",
    }
)
"""The operations that the audit log records, because they change or disclose much data."""
_TRIES = 5


def start(
    operation: str, arguments: dict[str, Any], *, now: Callable[[], datetime], actor: str = "", address: str = ""
) -> Job:
    """Queue an operation, by its name in `catalog.OPERATIONS`, and return its job.

    Within a transaction it is queued at the commit. Raises OrbError for unknown operations and wrong arguments.
    """
    return get_or_start(operation, arguments, now=now, actor=actor, address=address)[0]


def get_or_start(
    operation: str,
    arguments: dict[str, Any],
    *,
    now: Callable[[], datetime],
    actor: str = "",
    address: str = "",
    token: Token | None = None,
    attempt: str | None = None,
) -> tuple[Job, bool]:
    """Return the existing job or a new one that is queued, and whether it is new.

    A job exists already if the same attempt has created it, or if an equal job of the same token or actor is queued.
    Concurrent calls and crashes create exactly one job. Raises QuotaExceeded, and OrbError for unknown operations and
    wrong arguments.
    """
    request = read(operation, arguments)
    made = {"operation": operation, "arguments": arguments, "actor": actor, "token": token, "attempt": attempt}
    made["fingerprint"] = _fingerprint(request, f"token {token.pk}" if token else actor)
    for _ in range(_TRIES):
        try:
            return _get_or_create(request, made, now=now, address=address)
        except IntegrityError:  # another process was faster; its job is found, unless it has begun since
            continue
    return _get_or_create(request, made, now=now, address=address)


@transaction.atomic
def _get_or_create(
    request: Request, made: dict[str, Any], *, now: Callable[[], datetime], address: str
) -> tuple[Job, bool]:
    token = made["token"]
    if token is not None:  # serialized, because the jobs of a token are counted
        Token.objects.select_for_update(no_key=True).filter(pk=token.pk).first()
    there = _of_attempt(made["attempt"]) or _waiting(made["fingerprint"])
    if there is not None:
        return there, False
    if token is not None:
        quota.check(token, request, now())
    job = Job.objects.create(**made, created_at=now())
    if job.operation in NOTED:
        facts = {"address": address, "arguments": job.arguments}
        audit_log.note(job.created_at, job.actor, job.operation, subject=str(job.pk), **facts)
    hand_over(job, now)
    return job, True


def _of_attempt(attempt: str | None) -> Job | None:
    return Job.objects.filter(attempt=attempt).first() if attempt else None


def _waiting(fingerprint: str) -> Job | None:
    return Job.objects.filter(fingerprint=fingerprint, state=JobState.QUEUED).first() if fingerprint else None


def _fingerprint(request: Request, owner: str) -> str:
    """Return a text that equal requests of one owner share; empty without an owner."""
    if not owner:
        return ""
    arguments = msgspec.to_builtins(request)
    only = arguments["only"]
    arguments["only"] = None if only is None else sorted(set(only))
    text = canonical([owner, request.name, arguments])
    return salted_hmac("orbsite.operations.jobs", text, algorithm="sha256").hexdigest()


def start_again(number: int, *, now: Callable[[], datetime], actor: str = "", address: str = "") -> Job:
    """Queue a new job with the operation and arguments of an ended one. Raises OrbError."""
    job = _find(number)
    if job.state in OPEN:
        raise OrbError(f"job {number} is {job.state}; cancel it, or wait for it to end, before it is started again")
    return start(job.operation, job.arguments, now=now, actor=actor, address=address)


def cancel(number: int, *, now: Callable[[], datetime]) -> Job:
    """Cancel a job: a queued one does not begin, a running one ends where it can be resumed. Raises OrbError."""
    waiting = Job.objects.filter(pk=number, state=JobState.QUEUED)
    if not waiting.update(state=JobState.CANCELLED, finished_at=now(), wants_to_stop=True):
        Job.objects.filter(pk=number, state=JobState.RUNNING).update(wants_to_stop=True)
    job = _find(number)
    if not job.wants_to_stop:
        raise OrbError(f"job {number} is {job.state} already; nothing was cancelled")
    return job


@task
def run_job(number: int) -> None:
    """Run a job, in a worker. Raises OrbError, without a cause, if the job's row could not be written.

    A queue keeps the tracebacks of tasks with the messages of all errors, and a driver's messages quote rows.
    """
    try:
        execute(number, now=utc_now)
    except Exception as problem:  # noqa: BLE001 -- any error is reported without its texts
        why = told(problem)
    else:
        return
    raise OrbError(f"job {number} could not be recorded: {why}")


def execute(number: int, *, now: Callable[[], datetime], beat: float = SECONDS) -> bool:
    """Run a job that no other worker has begun; return whether this call ran it. Its row has the outcome."""
    worker, began = a_name(), now()
    mine = {"state": JobState.RUNNING, "worker": worker, "started_at": began, "heartbeat": began}
    queued = Job.objects.filter(pk=number, state=JobState.QUEUED)
    if not TransactionRetry("default").run(lambda: queued.update(**mine)):
        return False
    job, watched = Job.objects.get(pk=number), MonitoredProgress()
    ours = Job.objects.filter(pk=number, worker=worker, state=JobState.RUNNING)

    def alive(moment: datetime, seen: MonitoredProgress) -> bool:
        ours.update(heartbeat=moment, progress=seen.done, expected=seen.expected, so_far=so_far(seen.report))
        return ours.filter(wants_to_stop=False).exists()

    def end(state: str, error: str = "", **values: Any) -> None:
        values |= {
            "state": state,
            "error": error,
            "finished_at": now(),
            "progress": watched.done,
            "expected": watched.expected,
            "so_far": so_far(watched.report),
        }
        TransactionRetry("default").run(lambda: ours.update(**values))

    try:
        with heartbeat(watched, alive, now, seconds=beat):
            request = read(job.operation, job.arguments)
            if job.token is not None:
                quota.check_bytes(job.token, request)
            report = request.run(Place.of_settings(now, watched))
    except BaseException as problem:
        end(*_ending(problem))
        if not isinstance(problem, Stopped | Exception):
            raise
    else:
        samples = None if is_sealing() else report.samples or None  # they hold texts
        end(JobState.DONE, result=brief(report, MOST_FINDINGS), samples=samples)
    return True


def _ending(problem: BaseException) -> tuple[str, str]:
    """Return the state of a job that ended by an error, and the message for its row."""
    match problem:
        case Stopped():
            return JobState.CANCELLED, str(problem)
        case Exception():  # a queue would keep a traceback, with texts of users
            return JobState.FAILED, told(problem)
    return JobState.FAILED, f"its worker was stopped ({type(problem).__name__}); start it again"


def _find(number: int) -> Job:
    job = Job.objects.filter(pk=number).first()
    if job is None:
        raise OrbError(f"there is no job {number}; the admin lists all jobs")
    return job
