"""Admin pages of API tokens: creating a token, which is shown once, and listing and revoking tokens."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db import models, transaction
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html

from orbsite.admin.auth import reauthentication
from orbsite.admin.base import audit
from orbsite.admin.forms.list_field import ListField, ListItems
from orbsite.admin.records.model_admin import LedgerAdmin
from orbsite.models.api_tokens import Token, issue
from orbsite.storage.clock import utc_now

MOST_NAMED = 20


@admin.register(Token)
class TokenAdmin(LedgerAdmin):
    """Pages of API tokens, with which programs sign in."""

    list_display = ("name", "prefix", "scopes", "every_user", "expires_at", "revoked_at", "last_used_at", "created_by")
    list_filter = ("every_user", "revoked_at", "created_at")
    sortable_by = ("name", "expires_at", "revoked_at", "last_used_at")
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow users with the add permission to create tokens, unlike the other tables of the ledger."""
        return super(LedgerAdmin, self).has_add_permission(request)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Use a list of texts for the scopes and for the users."""
        if isinstance(db_field, models.JSONField):
            items = ListItems(texts=True, kind=None, label=db_field.name.removesuffix("s"))
            options |= {"form_class": ListField, "items": items}
        if db_field.name == "users":
            options["help_text"] = "The ids of its users. It may start work that concerns these users alone."
        return super().formfield_for_dbfield(db_field, request, **options)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """Require a confirmation, because a token may give access to all data."""
        return reauthentication.ask(request) or super().add_view(request, form_url, extra_context)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields that limit a new token, or all fields of an existing one; its secret is not stored."""
        limits = ("name", "scopes", "users", "every_user", "expires_at")
        return limits if obj is None else (*limits, "prefix", "revoked_at", "last_used_at", "created_at", "created_by")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Create the token, and keep its secret for the response, which shows it once."""
        obj.created_by = request.user.get_username()
        secret = issue(obj, utc_now())
        facts = {"scopes": obj.scopes, "users": len(obj.users), "every_user": obj.every_user}
        audit.note(request, "token made", subject=obj.prefix, **facts)
        shown = format_html("Copy this token now. It cannot be shown again: <code>{}</code>", secret)
        request.orb_token_shown = shown  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> Any:
        """Show the secret on the response page, not in a message, because cookies or sessions would store it."""
        context = self.admin_site.each_context(request) | {
            "title": f"Token {obj.name}",
            "shown": request.orb_token_shown,  # type: ignore[attr-defined]
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/token_shown.html", context)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Allow users with the add or the change permission to revoke tokens."""
        return self.has_add_permission(request) or super(LedgerAdmin, self).has_change_permission(request)

    @admin.action(description="Revoke selected tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        """Revoke tokens with effect from the next request."""
        prefixes = list(queryset.filter(revoked_at=None).values_list("prefix", flat=True))
        with transaction.atomic():
            number = Token.objects.filter(prefix__in=prefixes, revoked_at=None).update(revoked_at=utc_now())
            audit.note(request, "tokens revoked", subject=" ".join(prefixes[:MOST_NAMED]), tokens=number)
        self.message_user(request, f"Revoked {number} tokens. They are no longer accepted.", messages.SUCCESS)
