"""Admin pages of users and groups. They require a confirmed password, and the audit log records every change."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from orbsite.admin.auth import reauthentication
from orbsite.admin.base import audit
from orbsite.admin.base.changelist import ModelAdmin


class ReauthenticationMixin(ModelAdmin):
    """Pages that grant permissions: without a confirmation, an unattended browser would give lasting access."""

    def changeform_view(self, request: HttpRequest, object_id: str | None = None, *others: Any, **named: Any) -> Any:
        """Require a confirmation from users who may add or change the object."""
        may = self.has_add_permission if object_id is None else self.has_change_permission
        return (reauthentication.ask(request) if may(request) else None) or super().changeform_view(
            request, object_id, *others, **named
        )

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Require a confirmation from users who may delete the object."""
        confirmation = reauthentication.ask(request) if self.has_delete_permission(request) else None
        return confirmation or super().delete_view(request, object_id, extra_context)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Add the new object to the audit log as well as to Django's log."""
        self._note(request, "made", obj)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Add the change to the audit log, with the names of the changed fields."""
        self._note(request, "changed", obj, told=message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Add each deletion to the audit log as well as to Django's log."""
        for obj in queryset:
            self._note(request, "removed", obj)
        return super().log_deletions(request, queryset)

    def _note(self, request: HttpRequest, done: str, obj: Any, **facts: Any) -> None:
        audit.note(request, f"{self.opts.model_name} {done}", subject=obj.pk, **facts)


class GuardedUserAdmin(ReauthenticationMixin, UserAdmin):  # type: ignore[type-arg]
    """The admin pages of users, and a mixin for those of another user model."""

    def user_change_password(self, request: HttpRequest, *others: Any, **named: Any) -> Any:
        """Require a confirmation, because this page sets a new password without asking for the old one."""
        confirmation = reauthentication.ask(request) if self.has_change_permission(request) else None
        return confirmation or super().user_change_password(request, *others, **named)


def replace() -> None:
    """Guard the registered pages of users and groups, which are those of the project if it has another user model."""
    models: tuple[type[Any], ...] = (get_user_model(), Group)
    for model in filter(admin.site.is_registered, models):
        registered = type(admin.site.get_model_admin(model))
        guard = GuardedUserAdmin if issubclass(registered, UserAdmin) else ReauthenticationMixin
        admin.site.unregister(model)
        admin.site.register(model, type(f"Guarded{registered.__name__}", (guard, registered), {}))
