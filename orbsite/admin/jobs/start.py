"""What all pages that start work have in common: who may, the password where it weighs, and nothing twice."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.urls import reverse

from orbsite.admin.auth import reauthentication
from orbsite.admin.base.permissions import may, may_see, needs_confirmation
from orbsite.models.jobs import Job
from orbsite.operations.jobs import jobs
from orbsite.runtime.client_ip import of_client
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import registered
from orbsite.stores import open_store

OPEN = (Job.State.QUEUED, Job.State.RUNNING)


def start(request: HttpRequest, operation: str, arguments: dict[str, Any], *, back: str) -> HttpResponseRedirect:
    """Queue an operation and go to its job's page; `back` is where to go when the password has to be told first.

    The very same work is not queued twice: whoever asks for what waits or runs already is shown that.
    """
    if not may(request.user, operation):
        raise Http404
    if page := confirmation(request, operation, arguments, to=back):
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


def confirmation(
    request: HttpRequest, operation: str, arguments: dict[str, Any], *, to: str = ""
) -> HttpResponseRedirect | None:
    """Return the way to the page that asks for the password, where the work weighs so much; None where it was told."""
    if needs_confirmation(operation, arguments) or (operation == "export" and _are_many(arguments)):
        return reauthentication.ask(request, to=to)
    return None


def _are_many(arguments: dict[str, Any]) -> bool:
    """Tell whether there are more records of a user than are taken unasked; where nobody can tell, there are."""
    most = reauthentication.MOST_TAKEN
    found = 0
    try:
        for domain in registered(arguments.get("only")):
            store = open_store(domain)
            for kind in domain.kinds:
                found += len(list(store.find(kind, {"user_id": str(arguments.get("user"))}, limit=most + 1)))
    except (OrbError, DatabaseError):
        return True
    return found > most


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
