"""The page of one job while it waits and runs, and when it has ended: how far it is, and what came of it.

A browser asks for its state every second; without a script, the page tells the same each time it is loaded.
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
from orbsite.admin.jobs import result
from orbsite.admin.jobs.downloads import files_in, place_of
from orbsite.admin.jobs.start import OPEN, found, start, to_job
from orbsite.admin.jobs.views import address_of
from orbsite.models.jobs import Job
from orbsite.operations.jobs import catalog, jobs
from orbsite.operations.jobs.parameters import acting, is_look
from orbsite.operations.workers.workers import STALE_AFTER, fail_stale_jobs
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError

_TOO_FEW = 0.01
"""Before this part is done, nobody knows how long the rest takes."""
_SAID: dict[str, str] = {
    Job.State.QUEUED: "Waits for a worker. Where none takes it, start one: manage.py db_worker.",
    Job.State.DONE: "It has come to its end.",
    Job.State.CANCELLED: "Cancelled. What was done so far is kept.",
    Job.State.FAILED: "Failed. What was done so far is kept.",
}


def urls(site: AdminSite) -> list[Any]:
    """Return the addresses of these pages."""

    def show(request: HttpRequest, number: int) -> Any:
        job = found(request, number)
        context = site.each_context(request) | shown(job, request.user, utc_now())
        return TemplateResponse(request, "console/job.html", context)

    def state(request: HttpRequest, number: int) -> Any:
        return JsonResponse(state_of(found(request, number, "samples", "arguments"), utc_now()))

    views = {"": show, "state/": state, "cancel/": cancel, "again/": start_again, "apply/": apply}
    names = {"": "job", "state/": "job_state", "cancel/": "job_cancel", "again/": "job_again", "apply/": "job_apply"}
    return [
        path(f"console/jobs/<int:number>/{end}", page(site, view, allowed=_is_signed_in), name=names[end])
        for end, view in views.items()
    ]


@require_POST
def cancel(request: HttpRequest, number: int) -> Any:
    """Want a job to end."""
    job = _ours(request, number)
    try:
        jobs.cancel(job.pk, now=utc_now)
    except OrbError as problem:
        messages.error(request, str(problem))
    else:
        messages.success(request, "It is told to stop; what was done so far is kept.")
    return to_job(job)


@require_POST
def start_again(request: HttpRequest, number: int) -> Any:
    """Start what has ended once more; a job whose worker is gone has ended too."""
    job = _ours(request, number)
    fail_stale_jobs(utc_now(), STALE_AFTER)
    job.refresh_from_db(fields=["state"])
    if job.state in OPEN:
        messages.error(request, f"Job {job.pk} is {job.state}; cancel it, or wait for it to end.")
        return to_job(job)
    return start(request, job.operation, job.arguments, back=reverse("admin:job", args=[job.pk]))


@require_POST
def apply(request: HttpRequest, number: int) -> Any:
    """Do what a job has told it would do."""
    job = _ours(request, number)
    if not _can_be_applied(job):
        messages.error(request, "Nothing was started: this job is no preview that has come to its end.")
        return to_job(job)
    wanted = acting(catalog.OPERATIONS[job.operation], job.arguments)
    return start(request, job.operation, wanted, back=reverse("admin:job", args=[job.pk]))


def shown(job: Job, user: Any, now: datetime) -> dict[str, Any]:
    """Return what the page shows of a job."""
    ours = may(user, job.operation) and job.operation in catalog.OPERATIONS
    is_open = job.state in OPEN
    return {
        "title": f"{job.operation}, job {job.pk}",
        "job": job,
        "live": state_of(job, now),
        "arguments": result.facts_of(job.arguments),
        "result": None if job.result is None else result.of_result(job.result),
        "samples": result.of_samples(job.samples or [], user),
        "is_look": is_look(catalog.OPERATIONS[job.operation], job.arguments) if ours else False,
        "can_cancel": ours and is_open and not job.wants_to_stop,
        "can_start_again": ours and (not is_open or _is_stale(job, now)),
        "can_apply": ours and _can_be_applied(job),
        "files": _files(job) if may(user, "export") else [],
        "form": address_of(job.operation, job.arguments) if ours else "",
    }


def state_of(job: Job, now: datetime) -> dict[str, Any]:
    """Return how far a job is, as JSON."""
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
        "said": _said(job, now),
        "numbers": _numbers(job, percent, rate, left),
        "columns": [name.replace("_", " ") for name in columns],
        "rows": [[domain, *(numbers.get(name, 0) for name in columns)] for domain, numbers in counts.items()],
        "found": so_far.get("found") or 0,
        "findings": so_far.get("findings") or [],
    }


def _speed(job: Job) -> tuple[int | None, int | None]:
    """Return how many records are done in a second, and the seconds that are left at that rate."""
    until = job.finished_at or job.heartbeat
    if job.started_at is None or until is None or not job.progress:
        return None, None
    seconds = (until - job.started_at).total_seconds()
    rate = job.progress / seconds if seconds > 0 else 0
    if rate <= 0:
        return None, None
    if not job.expected or job.state != Job.State.RUNNING or job.progress < job.expected * _TOO_FEW:
        return round(rate), None
    return round(rate), round(max(0, job.expected - job.progress) / rate)


def _said(job: Job, now: datetime) -> str:
    """Return the state in a sentence."""
    if job.state == Job.State.RUNNING:
        if _is_stale(job, now):
            return "Runs, but its worker has given no sign of life for minutes. Start it again: it goes on from there."
        return "Stops where it can be gone on with." if job.wants_to_stop else "Runs. You may close this page."
    if job.state == Job.State.DONE and not (job.result or {}).get("ok", True):
        return "It has come to its end, and not all is well: see what was found."
    return _SAID.get(job.state, job.state)


def _numbers(job: Job, percent: int | None, rate: int | None, left: int | None) -> str:
    """Return how far it is in a line; how many were expected is a guess, and said until it is known better."""
    is_guess = bool(job.expected) and job.state in OPEN
    said = [f"{job.progress:,} of about {job.expected:,}" if is_guess else f"{job.progress:,} looked at"]
    said += [f"{percent} %"] if percent is not None else []
    said += [f"{rate:,} a second"] if rate else []
    said += [f"about {left} s left"] if left else []
    return ", ".join(said)


def _is_stale(job: Job, now: datetime) -> bool:
    return job.state == Job.State.RUNNING and job.heartbeat is not None and job.heartbeat < now - STALE_AFTER


def _files(job: Job) -> list[tuple[str, PurePosixPath]]:
    place = place_of(job)
    return [] if place is None else files_in(place)


def _can_be_applied(job: Job) -> bool:
    kind = catalog.OPERATIONS.get(job.operation)
    return job.state == Job.State.DONE and kind is not None and is_look(kind, job.arguments)


def _ours(request: HttpRequest, number: int) -> Job:
    """Return a job of an operation that somebody may start."""
    job = found(request, number)
    if job.operation not in catalog.OPERATIONS or not may(request.user, job.operation):
        raise Http404
    return job


def _is_signed_in(request: HttpRequest) -> bool:
    return bool(request.user.is_staff)
