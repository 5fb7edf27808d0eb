"""Admin pages of profiles and active modes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from typing_extensions import override

from luna.models import ActiveModeRow, ProfileRow
from luna.presets import new_profile, presets
from luna.records import Profile
from orbsite.admin.records.model_admin import RecordAdmin, excerpt


class ModeFilter(admin.SimpleListFilter):
    """Filters by the modes that have a preset. Use the search for other modes."""

    title = "mode"
    parameter_name = "mode_id"

    @override
    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(mode, preset.label) for mode, preset in presets().items()]

    @override
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(mode_id=self.value()) if self.value() else queryset


@admin.register(ProfileRow)
class ProfileAdmin(RecordAdmin):
    """Admin pages of profiles, ordered by user and mode."""

    list_display = ("user_id", "mode_id", "shown_preferences", "shown_constraints", "updated_at")
    list_display_links = ("user_id", "mode_id")
    list_filter = (ModeFilter,)
    sortable_by = ("user_id",)
    search_fields = ("user_id", "mode_id")
    search_help_text = "Enter a complete user id or mode id."
    ordering = ("user_id", "mode_id")

    def preset(self, record: Profile) -> Profile:
        """Return a profile with the preferences and constraints of its mode's preset. Other fields stay."""
        initial = new_profile(record.user_id, record.mode_id, record.updated_at)
        return msgspec.structs.replace(record, preferences=initial.preferences, constraints=initial.constraints)

    @admin.display(description="preferences")
    def shown_preferences(self, row: ProfileRow) -> str:
        """The preferences, shortened to one line."""
        return excerpt(_in_a_line(row.preferences, str))

    @admin.display(description="constraints")
    def shown_constraints(self, row: ProfileRow) -> str:
        """The descriptions of the constraints, shortened to one line."""
        return excerpt(_in_a_line(row.constraints, _description))


@admin.register(ActiveModeRow)
class ActiveModeAdmin(RecordAdmin):
    """Admin pages of active modes, ordered by user."""

    list_display = ("user_id", "mode_id", "updated_at")
    list_filter = (ModeFilter,)
    sortable_by = ("user_id",)
    search_fields = ("user_id", "mode_id")
    search_help_text = "Enter a complete user id or mode id."
    ordering = ("user_id",)


def _in_a_line(value: Any, describe: Callable[[Any], str]) -> str:
    return ", ".join(map(describe, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


def _description(constraint: Any) -> str:
    if isinstance(constraint, dict):
        return str(constraint.get("description") or constraint.get("type") or constraint.get("id"))
    return str(constraint)
