"""Pages of removed records: the runs that removed records, and the records of each run that can be restored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from orbsite.admin.base.cells import user_cell
from orbsite.admin.base.messages import refused
from orbsite.admin.records.bulk_actions import actor_of
from orbsite.admin.records.history_views import kind_of, number_in
from orbsite.conf import app_settings
from orbsite.models.ledger import Change, Run, owner_in_key
from orbsite.operations.ledger.tombstones import REMOVALS
from orbsite.operations.records.undelete import undelete
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import Domain, registered
from orbsite.storage.records.record import Key, Record
from orbsite.storage.sql.store import SqlStore

RUNS, PAGE = 50, 100
_EXCERPT_LENGTH = 120


@dataclass(frozen=True, slots=True)
class RemovedRecord:
    """A removed record that can be restored, as the page shows it."""

    change: Change
    key: Key
    excerpt: str
    """The first characters of the removed record."""
    user: SafeString
    """The user whose it was, with a link to the page about the user."""


def urls(site: AdminSite) -> list[URLPattern]:
    """Return the URL patterns of these pages."""
    runs, removed = (site.admin_view(partial(view, site)) for view in (_runs, _removed))
    return [
        path("console/removed/", runs, name="removed"),
        path("console/removed/<int:number>/<slug:domain>/<slug:kind>/", removed, name="removed_by"),
    ]


def may_look(site: AdminSite, request: HttpRequest) -> bool:
    """Return whether the user may view records of any kind."""
    return bool(visible_kinds(site, request))


def _runs(site: AdminSite, request: HttpRequest) -> Any:
    """List the latest runs that removed records, with counts of the kinds that the user may view."""
    visible = {(domain.name, kind.plural): kind for domain, kind in visible_kinds(site, request)}
    if not visible:
        raise Http404
    listed, before = [], number_in(request, "before")
    rows = Run.objects.filter(operation__in=REMOVALS, **({} if before is None else {"pk__lt": before})).order_by("-id")
    page = list(rows[: RUNS + 1])
    for run in page[:RUNS]:
        counts = [
            (domain, kind, numbers.get("removed", 0))
            for domain, kinds in run.counts.items()
            for kind, numbers in kinds.items()
            if (domain, kind) in visible and numbers.get("removed")
        ]
        if counts:
            listed.append((run, counts))
    context = site.each_context(request) | {
        "title": "Removed records",
        "runs": listed,
        "days": app_settings.undo_days(),
        "older": page[RUNS - 1].pk if len(page) > RUNS else None,
    }
    return TemplateResponse(request, "console/removed.html", context)


def _removed(site: AdminSite, request: HttpRequest, number: int, domain: str, kind: str) -> Any:
    """List the records of a kind that a run removed; with POST, restore the selected ones."""
    admin, its_domain, its_kind = kind_of(site, domain, kind, request)
    run = Run.objects.filter(pk=number, operation__in=REMOVALS).first()
    if run is None:
        raise Http404
    may_restore = admin.has_add_permission(request)
    if request.method == "POST":
        if not may_restore:
            raise PermissionDenied
        _restore(request, SqlStore(its_domain), its_kind)
        return HttpResponseRedirect(request.get_full_path())
    rows = Change.objects.filter(run_id=run.pk, domain=domain, kind=kind).exclude(reason="").order_by("pk")
    after = number_in(request, "after")
    if after is not None:
        rows = rows.filter(pk__gt=after)
    page = list(rows[: PAGE + 1])
    context = site.each_context(request) | {
        "title": f"Records removed by run {run.pk}: {kind.replace('_', ' ')}",
        "run": run,
        "domain": domain,
        "kind": kind,
        "tombstones": [_removed_record(change, its_kind) for change in page[:PAGE]],
        "next": page[PAGE - 1].pk if len(page) > PAGE else None,
        "until": run.started_at + timedelta(days=app_settings.undo_days()),
        "may_restore": may_restore,
    }
    return TemplateResponse(request, "console/removed_by.html", context)


def _restore(request: HttpRequest, store: SqlStore, kind: type[Record]) -> None:
    sent = request.POST.getlist("tombstone")
    numbers = [int(number[:18]) for number in sent if number.isascii() and number.isdecimal()]
    if not numbers:
        messages.warning(request, "Nothing was restored, because no record is selected. Select the records to restore.")
        return
    try:
        report = undelete(store, kind, numbers, hand=actor_of(request, "brought back from what was removed"))
    except OrbError as problem:
        messages.error(request, refused("restored", problem))
        return
    section = report.domains[store.domain.name]
    restored, present, kept = section.total("restored"), section.total("present"), section.total("kept")
    messages.success(request, f"Restored {restored} records; {present} records already existed.")
    if kept:
        messages.warning(
            request,
            f"{kept} records were not restored, because another record has their key or they cannot be decoded.",
        )


def visible_kinds(site: AdminSite, request: HttpRequest) -> list[tuple[Domain, type[Record]]]:
    """Return the kinds of records that the user may view, with their domains."""
    return [
        (domain, kind)
        for domain in registered()
        for kind, model in domain.models.items()
        if site.is_registered(model) and site.get_model_admin(model).has_view_permission(request)
    ]


def _removed_record(change: Change, kind: type[Record]) -> RemovedRecord:
    text = change.before.partition('"record":')[2]
    excerpt = " ".join(text[: 4 * _EXCERPT_LENGTH].split())
    key = tuple(msgspec.json.decode(change.key, type=list[str]))
    is_short = len(excerpt) <= _EXCERPT_LENGTH
    shown = excerpt if is_short else f"{excerpt[: _EXCERPT_LENGTH - 1]}…"
    return RemovedRecord(change, key, shown, user_cell(owner_in_key(kind, change.key) or ""))


def address(run: int, domain: str, kind: str) -> str:
    """Return the URL of the page that lists the records of a kind that a run removed."""
    return reverse("admin:removed_by", args=[run, domain, kind])
