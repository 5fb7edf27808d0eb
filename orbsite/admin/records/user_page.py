"""The page about one user, with everything of the user, and the page that leads to it."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from orbsite.admin.base import url_converters  # noqa: F401 -- the converters
from orbsite.admin.base.cells import time_cell, user_address
from orbsite.admin.base.permissions import View, may, page
from orbsite.admin.records.record_list import COUNTED_ROWS
from orbsite.admin.records.trash import may_look
from orbsite.admin.records.user_summary import LEDGER_ROWS, some_users, summary_of
from orbsite.operations.ledger.erasure_list import erased_at
from orbsite.operations.monitoring.console_pages import address_of
from orbsite.storage.clock import utc_now
from orbsite.storage.records.record import Key
from orbsite.storage.sql.filters import can_be_stored

_OPERATIONS = (
    ("export", "Export all data…", "Writes files with everything of this user, to download from the page of the job."),
    ("compact", "Compact by a policy…", "Removes what a retention policy does not keep of this user, after a preview."),
    ("erase", "Erase…", "Deletes everything of this user for good, and lists what remains elsewhere and until when."),
)


def urls(site: AdminSite) -> list[URLPattern]:
    """Return the URL patterns of these pages."""
    views: dict[str, tuple[str, View]] = {"users": ("", _users), "user": ("<key:key>/", _user)}
    return [
        path(f"console/users/{rest}", page(site, partial(view, site), allowed=partial(may_look, site)), name=name)
        for name, (rest, view) in views.items()
    ]


def _users(site: AdminSite, request: HttpRequest) -> Any:
    """Lead to the page of the user whose id was entered; list some users."""
    user = request.GET.get("user")
    if user and can_be_stored(user):
        return HttpResponseRedirect(user_address(user))
    if user is not None:
        messages.warning(request, "Enter the id of a user, as the records spell it.")
        return HttpResponseRedirect(request.path)
    users = [(one, user_address(one)) for one in some_users(site, request) if one]
    context = site.each_context(request) | {"title": "Users", "users": users}
    return TemplateResponse(request, "console/users.html", context)


def _user(site: AdminSite, request: HttpRequest, key: Key) -> Any:
    """Show everything of a user that the viewer may see, and the operations that the viewer may start."""
    if len(key) != 1 or not can_be_stored(key[0]):
        raise Http404
    (user,), now = key, utc_now()
    summary, erased = summary_of(user, site, request, now), erased_at(user)
    operations = [
        (title, text, address_of(name, {"user": user})) for name, title, text in _OPERATIONS if may(request.user, name)
    ]
    context = site.each_context(request) | {
        "title": f"User {user}",
        "user_id": user,
        "summary": summary,
        "erased": None if erased is None else time_cell(erased, now),
        "operations": operations,
        "may_migrate": may(request.user, "migrate"),
        "counted": COUNTED_ROWS,
        "searched": LEDGER_ROWS,
    }
    return TemplateResponse(request, "console/user.html", context)
