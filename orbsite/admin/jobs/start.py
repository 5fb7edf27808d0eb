"""Starting jobs from pages: the permission check, the confirmation, and the check for an identical open job."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.urls import reverse

from orbsite.admin.auth import reauthentication
from orbsite.admin.base.permissions import may, may_see, needs_confirmation
from orbsite.models.jobs import OPEN, Job
from orbsite.operations.jobs import jobs
from orbsite.runtime.client_ip import of_client
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import registered
from orbsite.stores import open_store


def start(request: HttpRequest, operation: str, arguments: dict[str, Any], *, back: str) -> HttpResponseRedirect:
    """Queue an operation and redirect to its job's page.

    If the password has to be confirmed first, or the operation refuses its arguments, the user goes to `back`. If a job
    with the same operation and arguments is queued or running, no second one is queued, and the user goes to its page.
    """
    if not may(request.user, operation):
        raise Http404
    if page := confirmation(request, operation, arguments, to=back):
        return page
    open_job = Job.objects.filter(operation=operation, arguments=arguments, state__in=OPEN).only("pk").first()
    if open_job is not None:
        messages.info(request, "This job is already queued or running. No second job was started.")
        return to_job(open_job)
    try:
        job = jobs.start(operation, arguments, now=utc_now, **who(request))
    except OrbError as problem:
        messages.error(request, str(problem))
        return HttpResponseRedirect(back)
    return to_job(job)


def confirmation(
    request: HttpRequest, operation: str, arguments: dict[str, Any], *, to: str = ""
) -> HttpResponseRedirect | None:
    """Return a redirect to the confirmation page if the operation needs one, or None if it can start now."""
    if needs_confirmation(operation, arguments) or (operation == "export" and _are_many(arguments)):
        return reauthentication.ask(request, to=to)
    return None


def _are_many(arguments: dict[str, Any]) -> bool:
    """Return whether an export has more records than need no confirmation; True if they cannot be counted."""
    most = reauthentication.MOST_EXPORTED
    number = 0
    try:
        for domain in registered(arguments.get("only")):
            store = open_store(domain)
            for kind in domain.kinds:
                number += len(list(store.find(kind, {"user_id": str(arguments.get("user"))}, limit=most + 1)))
    except (OrbError, DatabaseError):
        return True
    return number > most


def who(request: HttpRequest) -> dict[str, str]:
    """Return the actor and the client address of a request."""
    return {"actor": request.user.get_username(), "address": of_client(request)}


def to_job(job: Job) -> HttpResponseRedirect:
    """Return a redirect to a job's page."""
    return HttpResponseRedirect(reverse("admin:job", args=[job.pk]))


def get_job(request: HttpRequest, number: int, *without: str) -> Job:
    """Return a job without the fields in `without`. Raises Http404 if there is none or the user may not view it."""
    job = Job.objects.defer(*without).filter(pk=number).first() if number < 2**63 else None
    if job is None or not (may_see(request.user, Job) or may(request.user, job.operation)):
        raise Http404
    return job
