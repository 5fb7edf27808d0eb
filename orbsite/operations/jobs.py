"""Long work, done by a worker through Django's Tasks framework; a row per job tells how far it is, and stops it.

queued ─→ running ─→ done | failed | cancelled. Whichever queue carries a task, and however often, a job runs once. A
job whose worker died is failed by whoever looks next, and may be started again: a migration goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction

from orbsite import audit
from orbsite.operations.heart import SECONDS, Watched, beating
from orbsite.operations.progress import Stopped
from orbsite.operations.requests import read
from orbsite.operations.workers import a_name, brief, so_far, told
from orbsite.storage.attempts import Attempts
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.tasks import task
from orbsite.upkeep import Job

MOST_FINDINGS = 1000
NOTED = frozenset(
    {"migrate", "rollback", "sanitize", "repair", "compact", "cleanup", "maintain", "export", "import", "erase"}
)
"""What is in the audit trail: it changes much, or gives much away."""
_State = Job.State
_OPEN = (_State.QUEUED, _State.RUNNING)


def start(
    operation: str, arguments: dict[str, Any], *, now: Callable[[], datetime], actor: str = "", address: str = ""
) -> Job:
    """Queue an operation, by the name in `requests.OPERATIONS`, and return its job; note who wanted what changes much.

    Within a transaction it is queued once that is committed. Raises OrbError where there is no such operation, or the
    arguments are wrong.
    """
    read(operation, arguments)
    with transaction.atomic():
        job = Job.objects.create(operation=operation, arguments=arguments, actor=actor, created_at=now())
        if operation in NOTED:
            audit.note(job.created_at, actor, operation, subject=str(job.pk), address=address, arguments=arguments)
        transaction.on_commit(partial(run_job.enqueue, job.pk))
    return job


def start_again(number: int, *, now: Callable[[], datetime], actor: str = "", address: str = "") -> Job:
    """Queue a new job that does what one did that has ended. Raises OrbError."""
    job = _find(number)
    if job.state in _OPEN:
        raise OrbError(f"job {number} is {job.state}; cancel it, or wait for it to end, before it is started again")
    return start(job.operation, job.arguments, now=now, actor=actor, address=address)


def cancel(number: int, *, now: Callable[[], datetime]) -> Job:
    """Cancel a job: one that waits is not begun, one that runs ends where it can be gone on with. Raises OrbError."""
    waiting = Job.objects.filter(pk=number, state=_State.QUEUED)
    if not waiting.update(state=_State.CANCELLED, finished_at=now(), wants_to_stop=True):
        Job.objects.filter(pk=number, state=_State.RUNNING).update(wants_to_stop=True)
    job = _find(number)
    if not job.wants_to_stop:
        raise OrbError(f"job {number} is {job.state} already; nothing was cancelled")
    return job


@task
def run_job(number: int) -> None:
    """Run a job, in a worker."""
    execute(number, now=utc_now)


def execute(number: int, *, now: Callable[[], datetime], beat: float = SECONDS) -> bool:
    """Run a job, unless somebody has taken it up before; return whether it was ours. Its row tells how it ended."""
    worker, began = a_name(), now()
    mine = {"state": _State.RUNNING, "worker": worker, "started_at": began, "heartbeat": began}
    queued = Job.objects.filter(pk=number, state=_State.QUEUED)
    if not Attempts("default").run(lambda: queued.update(**mine)):
        return False
    job, watched = Job.objects.get(pk=number), Watched()
    ours = Job.objects.filter(pk=number, worker=worker, state=_State.RUNNING)

    def alive(moment: datetime, seen: Watched) -> bool:
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
        Attempts("default").run(lambda: ours.update(**values))

    try:
        with beating(watched, alive, now, seconds=beat):
            report = read(job.operation, job.arguments).run(now, watched)
    except BaseException as problem:
        end(*_ending(problem))
        if not isinstance(problem, Stopped | Exception):
            raise
    else:
        end(_State.DONE, result=brief(report, MOST_FINDINGS), samples=report.samples or None)
    return True


def _ending(problem: BaseException) -> tuple[str, str]:
    """Return the state of a job that ended by an error, and what its row tells of it."""
    match problem:
        case Stopped():
            return _State.CANCELLED, str(problem)
        case Exception():  # a queue would keep a traceback, with texts of users
            return _State.FAILED, told(problem)
    return _State.FAILED, f"its worker was stopped ({type(problem).__name__}); start it again"


def _find(number: int) -> Job:
    job = Job.objects.filter(pk=number).first()
    if job is None:
        raise OrbError(f"there is no job {number}; the admin lists all jobs")
    return job
