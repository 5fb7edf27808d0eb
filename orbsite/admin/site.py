"""The admin site as an operations console."""

from __future__ import annotations

from functools import update_wrapper
from importlib import import_module
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.options import BaseModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect

from orbsite.admin.auth import reauthentication, two_factor
from orbsite.admin.base import audit
from orbsite.admin.dashboard import view as dashboard
from orbsite.admin.jobs import views
from orbsite.conf import app_settings
from orbsite.conf.app_settings import Persistence
from orbsite.storage.clock import utc_now

PAGES: tuple[str, ...] = (
    "auth.reauthentication",
    "auth.two_factor",
    "jobs.views",
    "jobs.job_page",
    "jobs.downloads",
    "dashboard.view",
    "records.history_views",
    "records.trash",
)
"""The modules of this package that have pages: `urls(site)` of each returns its addresses."""


class Console(AdminSite):
    """The admin over the SQL store; it says so where another store is the one in use."""

    site_header = "Orb persistence"
    site_title = "Orb persistence"
    index_title = "What is kept"
    site_url = None

    def get_urls(self) -> list[Any]:
        """Put our pages before Django's, whose last address takes whatever is left."""
        pages = [import_module(f"orbsite.admin.{name}") for name in PAGES]
        return [*(one for page in pages for one in page.urls(self)), *super().get_urls()]

    def has_permission(self, request: HttpRequest) -> bool:
        """Let staff in, for as long as a session lasts, and with their second factor where one is asked for."""
        return (
            super().has_permission(request)
            and reauthentication.lasts(request, utc_now())
            and not two_factor.is_missing(request)
        )

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Ask for the second factor first; tell nobody of rows that they may not see; guard who gets in."""

        def seen(request: HttpRequest, *arguments: Any, **named: Any) -> Any:
            page = getattr(view, "__self__", None)
            if not _may_see(page, request):
                raise Http404
            asked = reauthentication.of_access(request, page) if isinstance(page, BaseModelAdmin) else None
            return asked or view(request, *arguments, **named)

        inner = super().admin_view(update_wrapper(seen, view), cacheable)

        def outer(request: HttpRequest, *arguments: Any, **named: Any) -> Any:
            if not two_factor.is_missing(request):
                return inner(request, *arguments, **named)
            return view(request) if view == self.logout else two_factor.send(request)

        return update_wrapper(outer, inner)

    def index(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the dashboard, and below it Django's list of what there is."""
        more = {"title": "Dashboard", "dashboard": dashboard.context(request.user, utc_now())}
        return super().index(request, {**more, **(extra_context or {})})

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Ask for the password first, where guesses are counted, and note that it was changed."""
        if asked := reauthentication.ask(request):
            return asked
        answer = super().password_change(request, extra_context)
        if isinstance(answer, HttpResponseRedirect):
            audit.note(request, "password changed", subject=request.user.pk)
        return answer

    def autocomplete_view(self, request: HttpRequest) -> Any:
        """Offer rows to those who may see them; for others there is nothing here."""
        try:
            return super().autocomplete_view(request)
        except PermissionDenied as problem:
            raise Http404 from problem

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Add the notice to every page, and whether it leads to the operations."""
        operates = self.has_permission(request) and views.may_look(request)
        return super().each_context(request) | {"persistence_notice": _notice(), "operates": operates}


def _may_see(page: Any, request: HttpRequest) -> bool:
    """Tell whether somebody may see anything of the model whose page this is; other pages look for themselves."""
    return (
        not isinstance(page, BaseModelAdmin)
        or page.has_view_or_change_permission(request)
        or page.has_add_permission(request)
    )


def _notice() -> str:
    mode = app_settings.persistence()
    if mode is Persistence.SQL:
        return ""
    return f"The store in use is {mode.value}; these pages show the SQL tables. Set ORB_PERSISTENCE=sql to use them."
