"""Who may start what: a permission for each operation, and an answer that does not tell what one may not see."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest

View = Callable[..., Any]


def may(user: Any, operation: str) -> bool:
    """Tell whether somebody may start an operation."""
    return bool(user.has_perm(f"orbsite.start_{operation}"))


def needs_confirmation(operation: str, arguments: dict[str, Any]) -> bool:
    """Tell whether an operation asks for the password again: it takes everything away, or somebody for ever."""
    return operation == "erase" or (operation == "export" and not arguments.get("user"))


def may_see(user: Any, model: type[Any]) -> bool:
    """Tell whether somebody may see a model's rows."""
    return bool(user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"))


def page(site: AdminSite, view: View, *, allowed: Callable[[HttpRequest], bool]) -> View:
    """Return a page of the console: for staff who have signed in, and 404 for those who may not see it."""

    @wraps(view)
    def guarded(request: HttpRequest, *arguments: Any, **named: Any) -> Any:
        if not allowed(request):
            raise Http404
        return view(request, *arguments, **named)

    return site.admin_view(guarded)
