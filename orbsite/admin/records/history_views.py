"""Pages of one record: its history with diffs, the revert of a change, and the reset to its preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from orbsite.admin.base import audit, url_converters  # noqa: F401 -- the converters
from orbsite.admin.base.cells import user_address
from orbsite.admin.base.messages import refused
from orbsite.admin.base.permissions import View
from orbsite.admin.diff import differences
from orbsite.admin.records.bulk_actions import actor_of
from orbsite.admin.records.history import changes_of, history, tombstone_of
from orbsite.models.ledger import Change, Run
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.records.edit import edit
from orbsite.operations.records.revert import revert
from orbsite.storage.errors import OrbError
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain, registered
from orbsite.storage.records.record import Key, Record
from orbsite.storage.sql.filters import can_be_stored
from orbsite.storage.sql.models import RecordRow
from orbsite.storage.sql.store import SqlStore


@dataclass(frozen=True, slots=True)
class Subject:
    """The record that a page is about, and the admin of its kind."""

    admin: Any
    domain: Domain
    kind: type[Record]
    key: Key
    row: RecordRow | None

    @property
    def plural(self) -> str:
        """The plural name of the kind; a template cannot use `kind`, because it would call the class."""
        return self.kind.plural

    @property
    def store(self) -> SqlStore:
        """The store over the tables that the admin shows."""
        return SqlStore(self.domain)

    @property
    def record(self) -> Record | None:
        """The current record, or None if there is none or it cannot be decoded."""
        return None if self.row is None else self.row.reading().record

    @property
    def expect(self) -> str:
        """The digest of the current record, or empty if there is none."""
        return "" if self.record is None else digest(self.record)

    @property
    def address(self) -> str:
        """The URL of the record's history."""
        return reverse("admin:record_history", args=[self.domain.name, self.plural, self.key])

    @property
    def user_page(self) -> str:
        """The URL of the page about the user of the record; empty if nothing names one."""
        names = dict(zip(self.kind.key_fields, self.key, strict=True))
        user = str(names.get("user_id") or getattr(self.row, "user_id", ""))
        return user_address(user) if user else ""

    @property
    def preset(self) -> Record | None:
        """The preset of the record, or None if its app has none."""
        make: Callable[..., Record | None] | None = getattr(self.admin, "preset", None)
        return None if make is None or self.record is None else make(self.record)


def urls(site: AdminSite) -> list[URLPattern]:
    """Return the URL patterns of these pages."""
    where = "console/records/<slug:domain>/<slug:kind>/<key:key>/"
    views: dict[str, tuple[str, View]] = {
        "record_history": ("history/", _history),
        "record_revert": ("revert/<int:change>/", require_POST(_revert)),
        "record_reset": ("reset/", _reset),
    }
    return [path(where + rest, site.admin_view(_about(site, view)), name=name) for name, (rest, view) in views.items()]


def kind_of(site: AdminSite, domain: str, kind: str, request: HttpRequest) -> tuple[Any, Domain, type[Record]]:
    """Return the admin, the domain and the class of a kind of record.

    Raises Http404 if there is no such kind, or the user may not view its records.
    """
    for candidate in registered():
        for record, model in candidate.models.items():
            if (candidate.name, record.plural) == (domain, kind) and site.is_registered(model):
                admin = site.get_model_admin(model)
                if admin.has_view_permission(request):
                    return admin, candidate, record
    raise Http404


def _about(site: AdminSite, view: View) -> View:
    def with_subject(request: HttpRequest, domain: str, kind: str, key: Key, **named: Any) -> Any:
        admin, its_domain, its_kind = kind_of(site, domain, kind, request)
        if len(key) != len(its_kind.key_fields) or not all(map(can_be_stored, key)):
            raise Http404
        rows = its_domain.models[its_kind]._base_manager
        row = rows.filter(**dict(zip(its_kind.key_fields, key, strict=True))).first()
        return view(request, Subject(admin, its_domain, its_kind, key, row), **named)

    return with_subject


def _history(request: HttpRequest, subject: Subject) -> Any:
    """Show the history of a record. Raises Http404 if there is neither a record nor a change."""
    before, also = number_in(request, "before"), number_in(request, "tombstone")
    page = history(subject.domain, subject.kind, subject.key, subject.record, before=before, also=also)
    if subject.row is None and not page.versions and before is None:
        raise Http404
    context = _context(request, subject, "History") | {
        "versions": page.versions,
        "older": page.older,
        "written_by": _written_by(subject.row),
        "may_change": subject.admin.has_change_permission(request, subject.row),
    }
    return TemplateResponse(request, "console/history.html", context)


def _revert(request: HttpRequest, subject: Subject, change: int) -> Any:
    """Revert a change if the record is still in the state that the page has shown."""
    target: Change | None = changes_of(subject.domain, subject.kind, subject.key).filter(pk=change).first()
    target = target or tombstone_of(subject.domain, subject.kind, subject.key, change)
    if target is None:
        raise Http404
    _refuse_unless(_may_revert(subject, target, request))
    actor = _actor(request, f"took back change {change}")
    expect = request.POST.get("expect") or None

    def act() -> None:
        report = revert(subject.store, target, hand=actor, expect=expect)
        if number := sum(section.total("removed") for section in report.domains.values()):
            where = f"{subject.domain.name}/{subject.plural}"
            audit.note(request, "records removed", subject=where, run=report.run, records=number)

    _run(request, act, "The version before the change was restored.")
    return HttpResponseRedirect(subject.address)


def _reset(request: HttpRequest, subject: Subject) -> Any:
    """Show what a reset to the preset would change; with POST, reset the record."""
    preset, record = subject.preset, subject.record
    if preset is None or record is None:
        raise Http404
    _refuse_unless(subject.admin.has_change_permission(request, subject.row))
    if request.method == "POST":
        actor = _actor(request, "reset to the preset")
        expect = request.POST.get("expect", "")
        _run(
            request,
            lambda: edit(subject.store, preset, hand=actor, expect=expect),
            "The record was reset to its preset.",
        )
        return HttpResponseRedirect(subject.address)
    context = _context(request, subject, "Reset to preset") | {"parts": differences(record, preset)}
    return TemplateResponse(request, "console/reset.html", context)


def _context(request: HttpRequest, subject: Subject, title: str) -> dict[str, Any]:
    model, row = subject.admin.model, subject.row
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    shared: dict[str, Any] = subject.admin.admin_site.each_context(request)
    return shared | {
        "title": f"{title}: {', '.join(subject.key)}",
        "heading": title,
        "subject": subject,
        "opts": model._meta,
        "list": reverse(f"{name}_changelist"),
        "page": None if row is None else reverse(f"{name}_change", args=[quote(row.pk)]),
        "can_be_reset": subject.preset is not None,
    }


def _written_by(row: RecordRow | None) -> Run | None:
    return None if row is None or row.run_id is None else Run.objects.filter(uid=row.run_id).first()


def _may_revert(subject: Subject, change: Change, request: HttpRequest) -> bool:
    """Return whether the user may add, change or delete the record, whichever the revert has to do."""
    if subject.row is None:
        return bool(subject.admin.has_add_permission(request))
    removes = change.before.startswith('{"delete"')
    admin = subject.admin
    may = admin.has_delete_permission if removes else admin.has_change_permission
    return bool(may(request, subject.row))


def _actor(request: HttpRequest, action: str) -> Actor:
    reason = request.POST.get("reason", "").replace("\x00", "").strip()
    return actor_of(request, f"{action}: {reason}" if reason else action)


def _run(request: HttpRequest, act: Callable[[], Any], message: str) -> None:
    """Call `act`, then show the message or the error."""
    try:
        act()
    except OrbError as problem:
        messages.error(request, refused("changed", problem))
    else:
        messages.success(request, message)


def number_in(request: HttpRequest, name: str) -> int | None:
    """Return the row number in a query parameter, or None if it is missing or no number of at most 18 digits."""
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None  # noqa: PLR2004 -- 64 bits


def _refuse_unless(is_allowed: bool) -> None:
    if not is_allowed:
        raise PermissionDenied
