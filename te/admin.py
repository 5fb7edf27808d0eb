"""Admin pages of reflections."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from orbsite.admin import RecordAdmin, excerpt
from te.models import ReflectionRow


@admin.register(ReflectionRow)
class ReflectionAdmin(RecordAdmin):
    """Reflections, newest first."""

    list_display = ("created_at", "user_id", "session_id", "shown_input", "shown_tags", "id")
    list_display_links = ("created_at", "id")
    list_filter = ("created_at",)
    search_fields = ("id", "user_id", "session_id")
    search_help_text = "a whole id, user id or session id"
    ordering = ("-created_at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReflectionRow]:
        """The rows, without what a list does not show."""
        rows: QuerySet[ReflectionRow] = super().get_queryset(request)
        return rows.defer("output", "notes") if _is_list(request) else rows

    @admin.display(description="input")
    def shown_input(self, row: ReflectionRow) -> str:
        """How the input begins."""
        return excerpt(row.input)

    @admin.display(description="tags")
    def shown_tags(self, row: ReflectionRow) -> str:
        """The tags in a line."""
        return excerpt(", ".join(map(str, row.tags)))


def _is_list(request: HttpRequest) -> bool:
    return bool(request.resolver_match and request.resolver_match.url_name == "te_reflectionrow_changelist")
