"""The page of one job: its state and progress while it is queued or running, and its result after it has ended.

A script polls the state every second; without scripts, reloading the page shows the current state.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from orbsite.admin.base.permissions import may, page
from orbsite.admin.jobs import result, story
from orbsite.admin.jobs.downloads import export_directory, files_in
from orbsite.admin.jobs.start import get_job, start, to_job
from orbsite.models.jobs import OPEN, Job, JobState
from orbsite.operations.jobs import catalog, jobs
from orbsite.operations.jobs.parameters import acting, is_look
from orbsite.operations.monitoring.console_pages import address_of
from orbsite.operations.workers.workers import STALE_AFTER, fail_stale_jobs
from orbsite.runtime.home import program
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError

_MIN_FRACTION = 0.01
"""The part of the work that has to be done before the remaining time is estimated."""
_STATE_TEXTS: dict[str, str] = {
    JobState.QUEUED: f"The job is waiting for a worker. If none takes it, start one: {program()} db_worker.",
    JobState.DONE: "The job has finished.",
    JobState.CANCELLED: "The job was cancelled. The work done so far is kept.",
    JobState.FAILED: "The job has failed. The work done so far is kept.",
}


def urls(site: AdminSite) -> list[Any]:
    """Return the URL patterns of these pages."""

    def show(request: HttpRequest, number: int) -> Any:
        job = get_job(request, number)
        context = site.each_context(request) | shown(job, request.user, utc_now())
        return TemplateResponse(request, "console/job.html", context)

    def state(request: HttpRequest, number: int) -> Any:
        return JsonResponse(state_of(get_job(request, number, "samples", "arguments"), utc_now()))

    views = {"": show, "state/": state, "cancel/": cancel, "again/": start_again, "apply/": apply}
    names = {"": "job", "state/": "job_state", "cancel/": "job_cancel", "again/": "job_again", "apply/": "job_apply"}
    return [
        path(f"console/jobs/<int:number>/{end}", page(site, view, allowed=_is_signed_in), name=names[end])
        for end, view in views.items()
    ]


@require_POST
def cancel(request: HttpRequest, number: int) -> Any:
    """Cancel a job; a running job stops at its next checkpoint."""
    job = _permitted_job(request, number)
    try:
        jobs.cancel(job.pk, now=utc_now)
    except OrbError as problem:
        messages.error(request, str(problem))
    else:
        messages.success(request, "The job will stop. The work done so far is kept.")
    return to_job(job)


@require_POST
def start_again(request: HttpRequest, number: int) -> Any:
    """Start a finished job again; a job whose worker has stopped sending heartbeats counts as finished."""
    job = _permitted_job(request, number)
    fail_stale_jobs(utc_now(), STALE_AFTER)
    job.refresh_from_db(fields=["state"])
    if job.state in OPEN:
        messages.error(request, f"Job {job.pk} is {job.state}. Cancel it, or wait until it has ended.")
        return to_job(job)
    return start(request, job.operation, job.arguments, back=reverse("admin:job", args=[job.pk]))


@require_POST
def apply(request: HttpRequest, number: int) -> Any:
    """Start the operation that a finished job has previewed."""
    job = _permitted_job(request, number)
    if not _can_be_applied(job):
        messages.error(request, "Nothing was started, because this job is not a finished preview.")
        return to_job(job)
    arguments = acting(catalog.OPERATIONS[job.operation], job.arguments)
    return start(request, job.operation, arguments, back=reverse("admin:job", args=[job.pk]))


def shown(job: Job, user: Any, now: datetime) -> dict[str, Any]:
    """Return the template context of a job's page."""
    may_start = may(user, job.operation) and job.operation in catalog.OPERATIONS
    is_open = job.state in OPEN
    return {
        "title": f"{job.operation}, job {job.pk}",
        "job": job,
        "live": state_of(job, now),
        "story": story.of_job(job, user, now),
        "arguments": result.facts_of(job.arguments),
        "result": None if job.result is None else result.of_result(job.result),
        "samples": result.of_samples(job.samples or [], user),
        "is_look": is_look(catalog.OPERATIONS[job.operation], job.arguments) if may_start else False,
        "can_cancel": may_start and is_open and not job.wants_to_stop,
        "can_start_again": may_start and (not is_open or _is_stale(job, now)),
        "can_apply": may_start and _can_be_applied(job),
        "files": _files(job) if may(user, "export") else [],
        "form": address_of(job.operation, job.arguments) if may_start else "",
    }


def state_of(job: Job, now: datetime) -> dict[str, Any]:
    """Return the state and the progress of a job as a JSON object."""
    so_far = job.so_far or {}
    rate, left = _speed(job)
    percent = min(100, 100 * job.progress // job.expected) if job.expected and job.state in OPEN else None
    counts: dict[str, dict[str, int]] = so_far.get("counts") or {}
    columns = list(dict.fromkeys(name for numbers in counts.values() for name in numbers))
    return {
        "state": job.state,
        "has_ended": job.state not in OPEN,
        "progress": job.progress,
        "expected": job.expected,
        "percent": percent,
        "rate": rate,
        "left": left,
        "said": _state_text(job, now),
        "numbers": _progress_text(job, percent, rate, left),
        "columns": [name.replace("_", " ") for name in columns],
        "rows": [[domain, *(numbers.get(name, 0) for name in columns)] for domain, numbers in counts.items()],
        "found": so_far.get("found") or 0,
        "findings": so_far.get("findings") or [],
    }


def _speed(job: Job) -> tuple[int | None, int | None]:
    """Return the records per second and the estimated remaining seconds, or None where they are unknown."""
    until = job.finished_at or job.heartbeat
    if job.started_at is None or until is None or not job.progress:
        return None, None
    seconds = (until - job.started_at).total_seconds()
    rate = job.progress / seconds if seconds > 0 else 0
    if rate <= 0:
        return None, None
    if not job.expected or job.state != JobState.RUNNING or job.progress < job.expected * _MIN_FRACTION:
        return round(rate), None
    return round(rate), round(max(0, job.expected - job.progress) / rate)


def _state_text(job: Job, now: datetime) -> str:
    if job.state == JobState.RUNNING:
        if _is_stale(job, now):
            return "The worker has sent no heartbeat for minutes. Start the job again: it continues where it stopped."
        if job.wants_to_stop:
            return "The job is stopping at its next checkpoint."
        return "The job is running. You can close this page."
    if job.state == JobState.DONE and not (job.result or {}).get("ok", True):
        return "The job has finished with problems. See the findings below."
    return _STATE_TEXTS.get(job.state, job.state)


def _progress_text(job: Job, percent: int | None, rate: int | None, left: int | None) -> str:
    """Return the progress in one line; the expected number is an estimate, and shown only until the job has ended."""
    is_estimate = bool(job.expected) and job.state in OPEN
    parts = [f"{job.progress:,} of about {job.expected:,}" if is_estimate else f"{job.progress:,} processed"]
    parts += [f"{percent} %"] if percent is not None else []
    parts += [f"{rate:,} per second"] if rate else []
    parts += [f"about {left} s left"] if left else []
    return ", ".join(parts)


def _is_stale(job: Job, now: datetime) -> bool:
    return job.state == JobState.RUNNING and job.heartbeat is not None and job.heartbeat < now - STALE_AFTER


def _files(job: Job) -> list[tuple[str, PurePosixPath]]:
    directory = export_directory(job)
    return [] if directory is None else files_in(directory)


def _can_be_applied(job: Job) -> bool:
    kind = catalog.OPERATIONS.get(job.operation)
    return job.state == JobState.DONE and kind is not None and is_look(kind, job.arguments)


def _permitted_job(request: HttpRequest, number: int) -> Job:
    """Return a job whose operation the user may start. Raises Http404 for any other job."""
    job = get_job(request, number)
    if job.operation not in catalog.OPERATIONS or not may(request.user, job.operation):
        raise Http404
    return job


def _is_signed_in(request: HttpRequest) -> bool:
    return bool(request.user.is_staff)
