"""Pages of what can be started: a list, and for each operation a form made from its declaration."""

from __future__ import annotations

from collections.abc import Iterator
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.text import capfirst
from django.views.decorators.csrf import csrf_exempt

from orbsite.admin.auth import reauthentication
from orbsite.admin.auth.upload_tickets import SMALL_BODY, forgery, length_of, ticket_for
from orbsite.admin.base.permissions import View, may, may_see, needs_confirmation, page
from orbsite.admin.jobs.forms import ArgumentsForm
from orbsite.admin.jobs.start import OPEN, start
from orbsite.conf import app_settings
from orbsite.models.jobs import Job
from orbsite.operations.backup import uploads
from orbsite.operations.jobs import catalog
from orbsite.operations.jobs.parameters import acting, can_look, looking
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError

GROUPS = (
    ("Move", ("migrate", "verify", "rollback", "import")),
    ("Files", ("validate", "check", "repair", "compact", "cleanup")),
    ("Take away and keep", ("export", "backup")),
    ("Retention", ("preview", "maintain")),
    ("Rows", ("sanitize", "index", "measure", "erase")),
)
_LATEST = 10


def urls(site: AdminSite) -> list[Any]:
    """Return the addresses of these pages."""

    def every(request: HttpRequest) -> Any:
        context = {"title": "Operations", "groups": list(_groups(request.user)), "jobs": _latest(request)}
        return TemplateResponse(request, "console/operations.html", site.each_context(request) | context)

    def one(request: HttpRequest, name: str) -> Any:
        return _one(request, name, site)

    return [
        path("console/operations/", page(site, every, allowed=may_look), name="operations"),
        path("console/operations/<slug:name>/", _bounded(page(site, one, allowed=may_look)), name="operation"),
    ]


class ImportForm(ArgumentsForm):
    """The same for an import, for which a database is uploaded, or chosen among those that are there."""

    file = forms.FileField(
        required=False,
        allow_empty_file=False,
        label="Upload",
        help_text="The SQLite file of the earlier system, orb.db; it is only read.",
    )
    field_order = ("file", "upload")

    def clean(self) -> dict[str, Any]:
        """Keep what is uploaded, privately, under a name of ours. Raises ValidationError."""
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
                raise ValidationError("Upload a database, or choose one that is there.")
        return super().clean()


def _one(request: HttpRequest, name: str, site: AdminSite) -> Any:
    kind = catalog.OPERATIONS.get(name)
    if kind is None or not may(request.user, name):
        raise Http404
    if needs_confirmation(name, {"user": "anybody"}) and (confirm := reauthentication.ask(request)):
        return confirm
    make: Any = ImportForm if name == "import" else ArgumentsForm
    if request.method == "POST":
        form = make(kind, request.POST, files=request.FILES)
        if form.is_valid():
            wanted = looking if can_look(kind) else acting
            arguments = wanted(kind, form.arguments)
            return start(request, name, arguments, back=address_of(name, arguments))
    else:
        form = make(kind, given=request.GET)
    context = {
        "title": capfirst(name),
        "said": kind.__doc__,
        "form": form,
        "can_look": can_look(kind),
        "upload_ticket": ticket_for(request) if form.is_multipart() else "",
        "is_final": needs_confirmation(name, {"user": "anybody"}),
    }
    return TemplateResponse(request, "console/operation.html", site.each_context(request) | context)


def address_of(name: str, arguments: dict[str, Any]) -> str:
    """Return the address of an operation's form, filled in."""
    given = {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in arguments.items()}
    texts = {key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()}
    return f"{reverse('admin:operation', args=[name])}{'?' if texts else ''}{urlencode(texts)}"


def _bounded(view: View) -> View:
    """Refuse a body that is too large, or large and not allowed, before anything reads it.

    The view itself looks at the token against forgery, which stands in the body.
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
                f"That is more than {most:,} bytes (ORB_MAX_UPLOAD_BYTES), and was not taken. Put the file into "
                "uploads/ under ORB_BACKUP_DIR, and choose it here.",
            )
            return HttpResponseRedirect(request.path)
        return view(request, *arguments, **named)

    return guarded


def _groups(user: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    grouped = {name for _, names in GROUPS for name in names}
    others = tuple(name for name in catalog.OPERATIONS if name not in grouped)
    for title, names in (*GROUPS, ("Others", others)):
        offered = [name for name in names if name in catalog.OPERATIONS and may(user, name)]
        if offered:
            yield title, [_told(name) for name in offered]


def _told(name: str) -> dict[str, Any]:
    kind = catalog.OPERATIONS[name]
    return {"name": name, "said": kind.__doc__, "can_look": can_look(kind)}


def _latest(request: HttpRequest) -> list[Job]:
    """Return the jobs under way, and those that were started last."""
    if not may_see(request.user, Job):
        return []
    rows = Job.objects.defer("so_far", "result", "samples")
    under_way = list(rows.filter(state__in=OPEN)[:_LATEST])
    return [*under_way, *rows.exclude(state__in=OPEN)[:_LATEST]]


def may_look(request: HttpRequest) -> bool:
    """Tell whether there is anything on these pages for somebody."""
    return may_see(request.user, Job) or any(may(request.user, name) for name in catalog.OPERATIONS)
