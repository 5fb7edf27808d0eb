"""Permission checks: one permission for each operation, and 404 for pages that the user may not view."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest

from orbsite.storage.records.domain import Domain

View = Callable[..., Any]


def may(user: Any, operation: str) -> bool:
    """Return whether the user has permission to start an operation."""
    return bool(user.has_perm(f"orbsite.start_{operation}"))


def needs_confirmation(operation: str, arguments: dict[str, Any]) -> bool:
    """Return whether an operation requires the password again: an erasure, or an export of all users."""
    return operation == "erase" or (operation == "export" and not arguments.get("user"))


def may_see(user: Any, model: type[Any]) -> bool:
    """Return whether the user has permission to view a model's rows."""
    return bool(user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"))


def may_see_all(user: Any, domain: Domain) -> bool:
    """Return whether the user may view all records of a domain, which includes their number."""
    return all(may_see(user, model) for model in domain.models.values())


def page(site: AdminSite, view: View, *, allowed: Callable[[HttpRequest], bool]) -> View:
    """Return a view for signed-in staff; it raises Http404 when `allowed` returns False."""

    @wraps(view)
    def guarded(request: HttpRequest, *arguments: Any, **named: Any) -> Any:
        if not allowed(request):
            raise Http404
        return view(request, *arguments, **named)

    return site.admin_view(guarded)
