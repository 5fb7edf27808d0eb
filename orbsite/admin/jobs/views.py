"""The list of operations, and for each operation a form that is generated from its declaration."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial, wraps
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.text import capfirst
from django.views.decorators.csrf import csrf_exempt

from orbsite.admin.auth import reauthentication
from orbsite.admin.auth.upload_tickets import SMALL_BODY, forgery, length_of, ticket_for
from orbsite.admin.base.permissions import View, may, may_see, needs_confirmation, page
from orbsite.admin.jobs.forms import ArgumentsForm
from orbsite.admin.jobs.outlook import outlook
from orbsite.admin.jobs.start import start
from orbsite.conf import app_settings
from orbsite.models.jobs import OPEN, Job
from orbsite.operations.backup import uploads
from orbsite.operations.jobs import catalog
from orbsite.operations.jobs.parameters import acting, can_look, looking
from orbsite.operations.monitoring.console_pages import address_of
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError

GROUPS = (
    ("Migration", ("migrate", "verify", "rollback", "import")),
    ("Files", ("validate", "check", "repair", "compact", "cleanup", "upgrade-files")),
    ("Export and backup", ("export", "backup")),
    ("Retention", ("preview", "maintain")),
    ("Records", ("sanitize", "upgrade-rows", "index", "measure", "erase")),
)
_LATEST = 10


def urls(site: AdminSite) -> list[Any]:
    """Return the URL patterns of these pages."""

    def show_list(request: HttpRequest) -> Any:
        context = {"title": "Operations", "groups": list(_groups(request.user)), "jobs": _latest(request)}
        return TemplateResponse(request, "console/operations.html", site.each_context(request) | context)

    show_form = _limit_body(page(site, partial(_operation_form, site=site), allowed=may_look))
    return [
        path("console/operations/", page(site, show_list, allowed=may_look), name="operations"),
        path("console/operations/<slug:name>/", show_form, name="operation"),
    ]


class ImportForm(ArgumentsForm):
    """The form of an import, with a file upload or a choice among the databases on the server."""

    file = forms.FileField(
        required=False,
        allow_empty_file=False,
        label="Upload a database",
        help_text="The SQLite file of the earlier system, orb.db. The import does not change it.",
    )
    field_order = ("file", "upload")

    def clean(self) -> dict[str, Any]:
        """Save the uploaded file in a private file with a generated name. Raises ValidationError."""
        if not self.errors:
            file = self.cleaned_data.pop("file", None)
            if file is not None:
                try:
                    self.cleaned_data["upload"] = uploads.keep(
                        app_settings.backup_directory(), file.chunks(), now=utc_now()
                    )
                except OrbError as problem:
                    raise ValidationError(str(problem)) from problem
            if not self.cleaned_data.get("upload"):
                raise ValidationError("Upload a database, or choose one from the list.")
        return super().clean()


def _operation_form(request: HttpRequest, name: str, site: AdminSite) -> Any:
    kind = catalog.OPERATIONS.get(name)
    if kind is None or not may(request.user, name):
        raise Http404
    if needs_confirmation(name, {"user": "example"}) and (confirm := reauthentication.ask(request)):
        return confirm
    make: Any = ImportForm if name == "import" else ArgumentsForm
    if request.method == "POST":
        form = make(kind, request.POST, files=request.FILES)
        if form.is_valid():
            prepare = looking if can_look(kind) else acting
            arguments = prepare(kind, form.arguments)
            return start(request, name, arguments, back=address_of(name, arguments))
    else:
        form = make(kind, given=request.GET)
    context = {
        "title": capfirst(name),
        "description": kind.__doc__,
        "form": form,
        "outlook": outlook(kind, request.user, utc_now()),
        "can_look": can_look(kind),
        "upload_ticket": ticket_for(request) if form.is_multipart() else "",
        "is_final": needs_confirmation(name, {"user": "example"}),
    }
    return TemplateResponse(request, "console/operation.html", site.each_context(request) | context)


def _limit_body(view: View) -> View:
    """Decorate a view so that it refuses too large and unauthorized request bodies before they are read.

    The view itself checks the CSRF token in the body.
    """

    @csrf_exempt
    @wraps(view)
    def guarded(request: HttpRequest, *arguments: Any, **named: Any) -> Any:
        most, length = app_settings.most_upload_bytes(), length_of(request)
        if length > SMALL_BODY and not may(request.user, named["name"]):
            raise Http404
        if length > SMALL_BODY and (refused := forgery(request)):
            return refused
        if length > most:
            messages.error(
                request,
                f"The upload was refused, because it is larger than {most:,} bytes (ORB_MAX_UPLOAD_BYTES). "
                "Copy the file to uploads/ under ORB_BACKUP_DIR, then choose it from the list.",
            )
            return HttpResponseRedirect(request.path)
        return view(request, *arguments, **named)

    return guarded


def _groups(user: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    grouped = {name for _, names in GROUPS for name in names}
    others = tuple(name for name in catalog.OPERATIONS if name not in grouped)
    for title, names in (*GROUPS, ("Other operations", others)):
        permitted = [name for name in names if name in catalog.OPERATIONS and may(user, name)]
        if permitted:
            yield title, [_description(name) for name in permitted]


def _description(name: str) -> dict[str, Any]:
    kind = catalog.OPERATIONS[name]
    return {"name": name, "description": kind.__doc__, "can_look": can_look(kind)}


def _latest(request: HttpRequest) -> list[Job]:
    """Return the queued and running jobs, then the latest finished jobs."""
    if not may_see(request.user, Job):
        return []
    rows = Job.objects.defer("so_far", "result", "samples")
    open_jobs = list(rows.filter(state__in=OPEN)[:_LATEST])
    return [*open_jobs, *rows.exclude(state__in=OPEN)[:_LATEST]]


def may_look(request: HttpRequest) -> bool:
    """Return whether the user may view jobs or start at least one operation."""
    return may_see(request.user, Job) or any(may(request.user, name) for name in catalog.OPERATIONS)
