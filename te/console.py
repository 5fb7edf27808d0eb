"""Admin pages of reflections."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from orbsite.admin.records.model_admin import RecordAdmin, excerpt
from orbsite.admin.records.search import OfTag, OfUser, SearchedAdmin, Since, Until, of_group
from orbsite.admin.records.session_view import ConversingAdmin
from te.models import ReflectionRow


@admin.register(ReflectionRow)
class ReflectionAdmin(SearchedAdmin, ConversingAdmin, RecordAdmin):
    """Admin pages of reflections, newest first."""

    list_display = ("created_at", "shown_user", "shown_session", "shown_input", "shown_tags", "id")
    list_display_links = ("created_at", "id")
    list_filter = ("created_at", OfUser, of_group("session_id", "session"), OfTag, Since, Until)
    sortable_by = ("created_at",)
    search_fields = ("id", "user_id", "session_id")
    search_help_text = "Enter a complete id, user id or session id."
    ordering = ("-created_at", "-id", "-user_id")
    locked = ("input", "output")
    former_address = "id"
    actions = ("tag", "untag", "delete_selected")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReflectionRow]:
        """Return the rows. The list page does not load output and notes, which it does not show."""
        rows: QuerySet[ReflectionRow] = super().get_queryset(request)
        return rows.defer("output", "notes") if _is_list(request) else rows

    @admin.display(description="user")
    def shown_user(self, row: ReflectionRow) -> SafeString:
        """The user, with a link to all reflections of that user."""
        return format_html('<a href="?{}">{}</a>', urlencode({"user_id": row.user_id}), row.user_id)

    @admin.display(description="session")
    def shown_session(self, row: ReflectionRow) -> SafeString:
        """The session, with a link to its conversation page if both ids are set."""
        if not row.user_id or not row.session_id:
            return format_html("{}", row.session_id)
        address = reverse("admin:session", args=[quote(row.user_id), quote(row.session_id)])
        return format_html('<a href="{}">{}</a>', address, row.session_id)

    @admin.display(description="input")
    def shown_input(self, row: ReflectionRow) -> str:
        """The beginning of the input."""
        return excerpt(row.input)

    @admin.display(description="tags")
    def shown_tags(self, row: ReflectionRow) -> str:
        """The tags, shortened to one line."""
        return excerpt(", ".join(map(str, row.tags)))


def _is_list(request: HttpRequest) -> bool:
    return bool(request.resolver_match and request.resolver_match.url_name == "te_reflectionrow_changelist")
