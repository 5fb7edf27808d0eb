"""The page of one bulk migration: how far all its directories are, what runs and what has failed.

The script of the jobs' pages polls the state. An answer takes the same number of queries for any number of directories.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from orbsite.admin.base import audit
from orbsite.admin.base.permissions import may, may_see, page
from orbsite.models.bulk_migrations import BulkDirectory, BulkMigration, DirectoryState
from orbsite.models.jobs import OPEN, Job
from orbsite.operations.bulk_migration import begin, queue
from orbsite.operations.bulk_migration.status import totals
from orbsite.operations.workers.workers import STALE_AFTER
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError

_SHOWN = 20
"""How many directories that run or have failed are shown; the list of directories has all of them."""
_COLUMNS = ("all", *DirectoryState.values, "read", "written", "problems")


def urls(site: AdminSite) -> list[Any]:
    """Return the URL patterns of these pages."""

    def show(request: HttpRequest, number: int) -> Any:
        bulk = _visible(request, number)
        context = site.each_context(request) | shown(bulk, request.user, utc_now())
        return TemplateResponse(request, "console/bulk_migration.html", context)

    def state(request: HttpRequest, number: int) -> Any:
        return JsonResponse(state_of(_visible(request, number)))

    views = {"": show, "state/": state, "retry/": retry, "workers/": set_workers}
    names = {"": "bulk", "state/": "bulk_state", "retry/": "bulk_retry", "workers/": "bulk_workers"}
    return [
        path(f"console/bulk-migrations/<int:number>/{end}", page(site, view, allowed=_is_signed_in), name=names[end])
        for end, view in views.items()
    ]


@require_POST
def retry(request: HttpRequest, number: int) -> Any:
    """Let the failed directories wait again."""
    bulk = _permitted(request, number)
    again = begin.retry(bulk)
    audit.note(request, "bulk migration retried", subject=bulk.pk, directories=again)
    messages.success(request, f"{again} directories wait again.")
    if bulk.workers:
        queue.set_workers(bulk, bulk.workers, now=utc_now, actor=request.user.get_username())
    return _to_page(bulk)


@require_POST
def set_workers(request: HttpRequest, number: int) -> Any:
    """Set how many jobs of the task queue work on the directories; 0 stops them."""
    bulk, given = _permitted(request, number), request.POST.get("workers", "")
    try:
        wanted = int(given) if given.isdecimal() and given.isascii() else -1
        added = queue.set_workers(bulk, wanted, now=utc_now, actor=request.user.get_username())
    except OrbError:
        messages.error(request, f"Give a number of workers from 0 to {queue.MOST_WORKERS}.")
    else:
        audit.note(request, "bulk migration workers", subject=bulk.pk, workers=wanted)
        messages.success(request, f"{added} jobs were queued." if wanted else "The workers of the queue will stop.")
    return _to_page(bulk)


def shown(bulk: BulkMigration, user: Any, now: datetime) -> dict[str, Any]:
    """Return the template context of the page."""
    rows = BulkDirectory.objects.filter(bulk=bulk).defer("result")
    running = list(rows.filter(state=DirectoryState.RUNNING)[:_SHOWN])
    for one in running:
        one.is_stale = one.heartbeat is not None and one.heartbeat < now - STALE_AFTER  # type: ignore[attr-defined]
    live = state_of(bulk)
    return {
        "title": f"Bulk migration {bulk.pk}",
        "bulk": bulk,
        "live": live,
        "running": running,
        "jobs": list(_jobs(bulk)[:_SHOWN]),
        "may_start": may(user, "migrate"),
        "can_retry": may(user, "migrate") and bool(live["counts"][DirectoryState.FAILED]),
        "lists": _lists(bulk, live["counts"]),
        "most_workers": queue.MOST_WORKERS,
    }


def state_of(bulk: BulkMigration) -> dict[str, Any]:
    """Return the state and the progress as a JSON object of the form that the page of a job has."""
    counts = totals(bulk)
    ended = counts[DirectoryState.DONE] + counts[DirectoryState.FAILED]
    has_ended = ended == counts["all"]
    percent = 100 * ended // counts["all"] if counts["all"] and not has_ended else None
    failed = BulkDirectory.objects.filter(bulk=bulk, state=DirectoryState.FAILED).only("name", "error")
    return {
        "state": _state(counts, has_ended=has_ended),
        "has_ended": has_ended,
        "progress": ended,
        "expected": counts["all"],
        "percent": percent,
        "said": _text(bulk, counts, has_ended=has_ended),
        "numbers": f"{ended:,} of {counts['all']:,} directories have ended",
        "counts": counts,
        "columns": list(_COLUMNS),
        "rows": [["directories and records", *(counts[name] for name in _COLUMNS)]],
        "found": counts[DirectoryState.FAILED],
        "findings": [
            {"severity": "failed", "domain": "", "path": one.name, "message": one.error} for one in failed[:_SHOWN]
        ],
    }


def _state(counts: dict[str, int], *, has_ended: bool) -> str:
    if has_ended:
        return "failed" if counts[DirectoryState.FAILED] else "done"
    return "running" if counts[DirectoryState.RUNNING] else "waiting"


def _text(bulk: BulkMigration, counts: dict[str, int], *, has_ended: bool) -> str:
    if has_ended and counts[DirectoryState.FAILED]:
        return "All directories have ended, and some have failed. Resolve the reasons, and try them again."
    if has_ended:
        return "All directories are migrated and verified."
    if counts[DirectoryState.RUNNING] or bulk.workers:
        return "The migration is running. You can close this page."
    return "No worker is running. Set a number of workers, or run migrate_orb_files --each on a host."


def _lists(bulk: BulkMigration, counts: dict[str, int]) -> list[tuple[str, int, str]]:
    """Return the states with their numbers, and the addresses of their lists of directories."""
    address = reverse("admin:orbsite_bulkdirectory_changelist")
    found: Callable[[str], str] = lambda state: urlencode({"bulk__id__exact": bulk.pk, "state__exact": state})  # noqa: E731
    return [(state.value, counts[state], f"{address}?{found(state.value)}") for state in DirectoryState]


def _jobs(bulk: BulkMigration) -> Any:
    rows = Job.objects.filter(operation="migrate", state__in=OPEN, arguments={"bulk": bulk.pk})
    return rows.defer("so_far", "result", "samples")


def _visible(request: HttpRequest, number: int) -> BulkMigration:
    """Return a bulk migration. Raises Http404 if there is none or the user may not view it."""
    found = BulkMigration.objects.filter(pk=number).first() if number < 2**63 else None
    if found is None or not (may_see(request.user, BulkMigration) or may(request.user, "migrate")):
        raise Http404
    return found


def _permitted(request: HttpRequest, number: int) -> BulkMigration:
    """Return a bulk migration that the user may start and stop. Raises Http404 for any other."""
    if not may(request.user, "migrate"):
        raise Http404
    return _visible(request, number)


def _to_page(bulk: BulkMigration) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("admin:bulk", args=[bulk.pk]))


def _is_signed_in(request: HttpRequest) -> bool:
    return bool(request.user.is_staff)
