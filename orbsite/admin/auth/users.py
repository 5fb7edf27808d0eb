"""Admin pages of who may sign in, and what they may: the password is asked for first, and what changes is noted."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest

from orbsite.admin.auth import reauthentication
from orbsite.admin.base import audit
from orbsite.admin.base.changelist import ModelAdmin


class Guarded(ModelAdmin):
    """Pages that hand out rights: with one of them, whoever found a browser open would need no password any more."""

    def changeform_view(self, request: HttpRequest, object_id: str | None = None, *others: Any, **named: Any) -> Any:
        """Ask those for the password who may do more than look."""
        may = self.has_add_permission if object_id is None else self.has_change_permission
        return (reauthentication.ask(request) if may(request) else None) or super().changeform_view(
            request, object_id, *others, **named
        )

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Ask those for the password who may remove somebody."""
        asked = reauthentication.ask(request) if self.has_delete_permission(request) else None
        return asked or super().delete_view(request, object_id, extra_context)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Note it in the trail too."""
        self._note(request, "made", obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Note it in the trail too, with the names of what was changed."""
        self._note(request, "changed", obj, told=message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Note it in the trail too."""
        for obj in queryset:
            self._note(request, "removed", obj)
        return super().log_deletions(request, queryset)

    def _note(self, request: HttpRequest, done: str, obj: Any, **facts: Any) -> None:
        audit.note(request, f"{self.opts.model_name} {done}", subject=obj.pk, **facts)


class GuardedUserAdmin(Guarded, UserAdmin):  # type: ignore[type-arg]
    """Who may sign in."""

    def user_change_password(self, request: HttpRequest, *others: Any, **named: Any) -> Any:
        """Ask for the password first: this page sets another one, one's own too, without the old."""
        asked = reauthentication.ask(request) if self.has_change_permission(request) else None
        return asked or super().user_change_password(request, *others, **named)


class GuardedGroupAdmin(Guarded, GroupAdmin):
    """What people may do together."""


def replace() -> None:
    """Put these pages in the place of Django's."""
    for model, page in ((User, GuardedUserAdmin), (Group, GuardedGroupAdmin)):
        admin.site.unregister(model)
        admin.site.register(model, page)
