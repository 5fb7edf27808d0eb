"""Admin pages of reflections."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from orbsite.admin.base.cells import text_cell, time_cell
from orbsite.admin.records.filters import OfTag, OfUser, Since, Until, of_value
from orbsite.admin.records.model_admin import RecordAdmin
from orbsite.admin.records.search import SearchedAdmin
from orbsite.admin.records.session_view import ConversingAdmin
from orbsite.storage.clock import utc_now
from te.models import ReflectionRow


@admin.register(ReflectionRow)
class ReflectionAdmin(SearchedAdmin, ConversingAdmin, RecordAdmin):
    """Admin pages of reflections, newest first."""

    list_display = ("shown_time", "shown_user", "shown_session", "shown_input", "shown_output", "shown_tags")
    more_columns = ("shown_notes", "shown_id")
    list_display_links = ("shown_time",)
    list_filter = (OfUser, of_value("session_id", "session"), OfTag, Since, Until)
    sortable_by = ("shown_time",)
    search_fields = ("id", "user_id", "session_id")
    ordering = ("-created_at", "-id", "-user_id")
    locked = ("input", "output")
    former_address = "id"
    actions = ("tag", "untag", "delete_selected")

    @admin.display(description="created", ordering="created_at")
    def shown_time(self, row: ReflectionRow) -> SafeString:
        """The time relative to now, and the id for those who hear the page."""
        return format_html('{}<span class="visually-hidden">, {}</span>', time_cell(row.created_at, utc_now()), row.id)

    @admin.display(description="session")
    def shown_session(self, row: ReflectionRow) -> SafeString:
        """The session, with a link to its conversation page if both ids are set."""
        if not row.user_id or not row.session_id:
            return text_cell(row.session_id, "Session")
        address = reverse("admin:session", args=[quote(row.user_id), quote(row.session_id)])
        return format_html(
            '<a class="orb-cell" dir="auto" title="{}" href="{}">{}</a>', row.session_id, address, row.session_id
        )

    @admin.display(description="input")
    def shown_input(self, row: Any) -> SafeString:
        """The beginning of the input."""
        return text_cell(row.beginnings["input"], "Input")

    @admin.display(description="output")
    def shown_output(self, row: Any) -> SafeString:
        """The beginning of the output."""
        return text_cell(row.beginnings["output"], "Output")

    @admin.display(description="tags")
    def shown_tags(self, row: ReflectionRow) -> SafeString:
        """The tags on one line."""
        return text_cell(", ".join(map(str, row.tags)), "Tags")

    @admin.display(description="notes")
    def shown_notes(self, row: Any) -> SafeString:
        """The beginning of the notes."""
        return text_cell(row.beginnings["notes"], "Notes")

    @admin.display(description="id")
    def shown_id(self, row: ReflectionRow) -> SafeString:
        """The id of the reflection."""
        return text_cell(row.id, "Id")
