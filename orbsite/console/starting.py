"""What all pages that start work have in common: who may, the password where it weighs, and nothing twice."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.urls import reverse

from orbsite.addresses import of_client
from orbsite.console import again
from orbsite.console.permissions import is_weighty, may, may_see
from orbsite.operations import jobs
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.upkeep import Job

OPEN = (Job.State.QUEUED, Job.State.RUNNING)


def start(request: HttpRequest, operation: str, arguments: dict[str, Any], *, back: str) -> HttpResponseRedirect:
    """Queue an operation and go to its job's page; `back` is where to go when the password has to be told first.

    The very same work is not queued twice: whoever asks for what waits or runs already is shown that.
    """
    if not may(request.user, operation):
        raise Http404
    if is_weighty(operation, arguments) and (page := again.ask(request, to=back)):
        return page
    waiting = Job.objects.filter(operation=operation, arguments=arguments, state__in=OPEN).only("pk").first()
    if waiting is not None:
        messages.info(request, "This is under way already; nothing else was started.")
        return to_job(waiting)
    try:
        job = jobs.start(operation, arguments, now=utc_now, **who(request))
    except OrbError as problem:
        messages.error(request, str(problem))
        return HttpResponseRedirect(back)
    return to_job(job)


def who(request: HttpRequest) -> dict[str, str]:
    """Return who asks, and from where."""
    return {"actor": request.user.get_username(), "address": of_client(request)}


def to_job(job: Job) -> HttpResponseRedirect:
    """Go to a job's page."""
    return HttpResponseRedirect(reverse("admin:job", args=[job.pk]))


def found(request: HttpRequest, number: int, *without: str) -> Job:
    """Return a job that somebody may see, without some of what is large."""
    job = Job.objects.defer(*without).filter(pk=number).first() if number < 2**63 else None
    if job is None or not (may_see(request.user, Job) or may(request.user, job.operation)):
        raise Http404
    return job
