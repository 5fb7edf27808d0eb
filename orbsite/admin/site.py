"""The admin site as an operations console."""

from __future__ import annotations

from functools import partial, update_wrapper
from importlib import import_module
from typing import Any

from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.admin.options import BaseModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.utils.module_loading import autodiscover_modules

from orbsite.admin import navigation
from orbsite.admin.auth import reauthentication, two_factor
from orbsite.admin.base import audit
from orbsite.admin.dashboard import trends
from orbsite.admin.dashboard import view as dashboard
from orbsite.admin.empty_states import empty_states
from orbsite.admin.jobs import views
from orbsite.admin.records import trash
from orbsite.admin.shortcuts import shortcuts
from orbsite.conf import app_settings
from orbsite.conf.app_settings import Persistence
from orbsite.storage.clock import utc_now

PAGES: tuple[str, ...] = (
    "auth.reauthentication",
    "auth.two_factor",
    "jobs.views",
    "jobs.job_page",
    "jobs.bulk_page",
    "jobs.downloads",
    "dashboard.view",
    "dashboard.trends",
    "records.history_views",
    "records.trash",
    "records.user_page",
)
"""The modules of this package that have pages; each has a function `urls(site)` that returns its URL patterns."""
REGISTRATIONS: tuple[str, ...] = ("retention", "bulk_migrations", "tokens", "audit", "queue")
"""The modules of `registrations`, which register pages of models."""


class Console(AdminSite):
    """The admin site over the SQL store. Every page shows a notice if the application uses another store.

    Its pages are imported when they are first asked for: by the URLs and the system checks, not by commands.
    """

    site_header = "Orb persistence"
    site_title = "Orb persistence"
    index_title = "Data"
    site_url = None

    def __init__(self, name: str = "admin") -> None:
        self._are_imported = False
        super().__init__(name)

    @property
    def _registry(self) -> dict[Any, Any]:
        """The pages of models, where Django's class has a variable."""
        if not self._are_imported and apps.models_ready:
            self._are_imported = True  # first, because the pages register themselves
            try:
                _import_pages(self)
            except BaseException:
                self._are_imported = False
                raise
        return self._pages

    @_registry.setter
    def _registry(self, pages: dict[Any, Any]) -> None:
        self._pages = pages

    def register(self, *arguments: Any, **options: Any) -> None:
        """Register a page. This does not import the others, of which one may be importing it."""
        before, self._are_imported = self._are_imported, True
        try:
            super().register(*arguments, **options)
        finally:
            self._are_imported = before

    def get_urls(self) -> list[Any]:
        """Put our URL patterns before Django's, because Django's last pattern matches every URL."""
        pages = [import_module(f"orbsite.admin.{name}") for name in PAGES]
        return [*(pattern for page in pages for pattern in page.urls(self)), *super().get_urls()]

    def has_permission(self, request: HttpRequest) -> bool:
        """Allow staff whose session has not expired and who have entered a second factor, if one is required."""
        return (
            super().has_permission(request)
            and reauthentication.lasts(request, utc_now())
            and not two_factor.is_missing(request)
        )

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Require the second factor, return 404 for models that the user may not view, and protect access settings."""

        def check_permission(request: HttpRequest, *arguments: Any, **named: Any) -> Any:
            page = getattr(view, "__self__", None)
            if not _may_see(page, request):
                raise Http404
            is_of_model = isinstance(page, BaseModelAdmin)
            confirmation = reauthentication.of_access(request, page) if is_of_model else None
            return confirmation or reauthentication.of_contents(request, page) or view(request, *arguments, **named)

        inner = super().admin_view(update_wrapper(check_permission, view), cacheable)

        def require_two_factor(request: HttpRequest, *arguments: Any, **named: Any) -> Any:
            if not two_factor.is_missing(request):
                return inner(request, *arguments, **named)
            return view(request) if view == self.logout else two_factor.send(request)

        return update_wrapper(require_two_factor, inner)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the sections of the menu instead of the apps; with a label, the models of that app."""
        listed = super().get_app_list(request, app_label)
        if app_label is not None:
            return listed
        may_look = trash.may_look(self, request)
        may = {
            "users": may_look,
            "removed": may_look,
            "operations": views.may_look(request),
            "trends": trends.may_look(request),
        }
        return navigation.grouped(listed, [name for name, is_allowed in may.items() if is_allowed])

    def index(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the dashboard above Django's list of models."""
        more = {"title": "Dashboard", "dashboard": dashboard.context(request.user, utc_now())}
        return super().index(request, {**more, **(extra_context or {})})

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Require the current password on the page that limits guesses, and add the change to the audit log."""
        if confirmation := reauthentication.ask(request):
            return confirmation
        answer = super().password_change(request, extra_context)
        if isinstance(answer, HttpResponseRedirect):
            audit.note(request, "password changed", subject=request.user.pk)
        return answer

    def autocomplete_view(self, request: HttpRequest) -> Any:
        """Return 404 instead of 403 to users who may not view the rows."""
        try:
            return super().autocomplete_view(request)
        except PermissionDenied as problem:
            raise Http404 from problem

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Add the notice about the store, whether the page links to the operations, and the keyboard shortcuts."""
        context, is_in = super().each_context(request), self.has_permission(request)
        return context | {
            "persistence_notice": _notice(),
            "operates": is_in and views.may_look(request),
            "empty_states": partial(empty_states, request.user),
            "shortcuts": shortcuts(context["available_apps"]) if is_in and not context["is_popup"] else [],
        }


def _may_see(page: Any, request: HttpRequest) -> bool:
    """Return whether the user may view or add rows of the page's model. Pages without a model check for themselves."""
    return (
        not isinstance(page, BaseModelAdmin)
        or page.has_view_or_change_permission(request)
        or page.has_add_permission(request)
    )


def _notice() -> str:
    mode = app_settings.persistence()
    if mode is Persistence.SQL:
        return ""
    return (
        f"The application uses the {mode.value} store, but these pages show the SQL tables. "
        "To use the SQL tables, set ORB_PERSISTENCE=sql."
    )


def _import_pages(site: Console) -> None:
    """Import each app's `admin.py` and `console.py` and our registrations; replace or remove pages of other apps."""
    for name in ("admin", "console"):
        autodiscover_modules(name, register_to=site)
    for name in REGISTRATIONS:
        import_module(f"orbsite.admin.registrations.{name}")
    import_module("orbsite.admin.auth.users").replace()
    two_factor.hide(site)
