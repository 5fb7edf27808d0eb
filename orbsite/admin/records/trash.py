"""Pages of what was removed and can be brought back: the runs that removed it, and what each run still has of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from orbsite.admin.base.messages import refused
from orbsite.admin.records.history_views import kind_of, number_in
from orbsite.conf import app_settings
from orbsite.models.ledger import Change, Run
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.ledger.tombstones import REMOVALS
from orbsite.operations.records.undelete import bring_back
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import registered
from orbsite.storage.records.record import Key, Record
from orbsite.storage.sql.store import SqlStore

RUNS, PAGE = 50, 100
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class RemovedRecord:
    """A tombstone as a page shows it."""

    change: Change
    key: Key
    shown: str
    """How what was removed begins."""


def urls(site: AdminSite) -> list[URLPattern]:
    """Return the addresses of these pages."""

    def runs(request: HttpRequest) -> Any:
        return _runs(site, request)

    def removed(request: HttpRequest, number: int, domain: str, kind: str) -> Any:
        return _removed(site, request, number, domain, kind)

    return [
        path("console/removed/", site.admin_view(runs), name="removed"),
        path("console/removed/<int:number>/<slug:domain>/<slug:kind>/", site.admin_view(removed), name="removed_by"),
    ]


def _runs(site: AdminSite, request: HttpRequest) -> Any:
    """List the latest runs that removed something, with what they removed of the kinds that one may see."""
    seen = {(domain.name, kind.plural): kind for domain, kind in _seen(site, request)}
    if not seen:
        raise Http404
    listed, before = [], number_in(request, "before")
    found = Run.objects.filter(operation__in=REMOVALS, **({} if before is None else {"pk__lt": before})).order_by("-id")
    page = list(found[: RUNS + 1])
    for run in page[:RUNS]:
        counts = [
            (domain, kind, numbers.get("removed", 0))
            for domain, kinds in run.counts.items()
            for kind, numbers in kinds.items()
            if (domain, kind) in seen and numbers.get("removed")
        ]
        if counts:
            listed.append((run, counts))
    context = site.each_context(request) | {
        "title": "What was removed",
        "runs": listed,
        "days": app_settings.undo_days(),
        "older": page[RUNS - 1].pk if len(page) > RUNS else None,
    }
    return TemplateResponse(request, "console/removed.html", context)


def _removed(site: AdminSite, request: HttpRequest, number: int, domain: str, kind: str) -> Any:
    """List what a run removed of a kind, to bring some of it back."""
    admin, its_domain, its_kind = kind_of(site, domain, kind, request)
    run = Run.objects.filter(pk=number, operation__in=REMOVALS).first()
    if run is None:
        raise Http404
    may_restore = admin.has_add_permission(request)
    if request.method == "POST":
        if not may_restore:
            raise PermissionDenied
        _bring_back(request, SqlStore(its_domain), its_kind)
        return HttpResponseRedirect(request.get_full_path())
    found = Change.objects.filter(run_id=run.pk, domain=domain, kind=kind).exclude(reason="").order_by("pk")
    after = number_in(request, "after")
    if after is not None:
        found = found.filter(pk__gt=after)
    page = list(found[: PAGE + 1])
    context = site.each_context(request) | {
        "title": f"What run {run.pk} removed: {kind.replace('_', ' ')}",
        "run": run,
        "domain": domain,
        "kind": kind,
        "tombstones": [_shown(change) for change in page[:PAGE]],
        "next": page[PAGE - 1].pk if len(page) > PAGE else None,
        "until": _until(run.started_at),
        "may_restore": may_restore,
    }
    return TemplateResponse(request, "console/removed_by.html", context)


def _bring_back(request: HttpRequest, store: SqlStore, kind: type[Record]) -> None:
    numbers = [int(one[:18]) for one in request.POST.getlist("tombstone") if one.isascii() and one.isdecimal()]
    if not numbers:
        messages.warning(request, "Nothing was chosen, and nothing was brought back. Tick what is to come back.")
        return
    hand = Actor(actor=request.user.get_username(), at=utc_now(), reason="brought back from what was removed")
    try:
        report = bring_back(store, kind, numbers, hand=hand)
    except OrbError as problem:
        messages.error(request, refused("brought back", problem))
        return
    section = report.domains[store.domain.name]
    messages.success(request, f"{section.total('restored')} are back; {section.total('present')} were there already.")
    if section.total("kept"):
        messages.warning(
            request, f"{section.total('kept')} stay removed: something else has their key, or they do not decode."
        )


def _seen(site: AdminSite, request: HttpRequest) -> list[tuple[Any, type[Record]]]:
    return [
        (domain, kind)
        for domain in registered()
        for kind, model in domain.models.items()
        if site.is_registered(model) and site.get_model_admin(model).has_view_permission(request)
    ]


def _shown(change: Change) -> RemovedRecord:
    text = change.before.partition('"record":')[2]
    shown = " ".join(text[: 4 * _SHOWN].split())
    key = tuple(msgspec.json.decode(change.key, type=list[str]))
    return RemovedRecord(change, key, shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…")


def _until(moment: datetime) -> datetime:
    return moment + timedelta(days=app_settings.undo_days())


def address(run: int, domain: str, kind: str) -> str:
    """Return the page of what a run has removed of a kind."""
    return reverse("admin:removed_by", args=[run, domain, kind])
