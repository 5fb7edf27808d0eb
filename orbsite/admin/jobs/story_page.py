"""Read-only pages of rows that tell their story first, with all their fields folded below it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from typing_extensions import override

from orbsite.admin.base.changelist import ModelAdmin
from orbsite.admin.jobs.result import tables_of
from orbsite.admin.jobs.story import Story


class StoryMixin(ModelAdmin):
    """A page that begins with the story of its row and the counts of its outcomes."""

    change_form_template = "console/story_row.html"

    def story(self, request: HttpRequest, row: Any) -> Story:
        """Return the story of a row."""
        raise NotImplementedError

    def counts(self, row: Any) -> dict[str, Any]:
        """Return the counts of a row by domain, kind and outcome."""
        raise NotImplementedError

    @override
    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = self.get_fields(request, obj)
        return [("Technical facts", {"fields": fields, "classes": ("collapse", "console-technical")})]

    @override
    def render_change_form(self, request: HttpRequest, context: Any, *arguments: Any, **options: Any) -> Any:
        row = context["original"]
        context |= {"story": self.story(request, row), "tables": tables_of(self.counts(row))}
        return super().render_change_form(request, context, *arguments, **options)
