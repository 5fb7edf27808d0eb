"""Admin pages of profiles and active modes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from luna.models import ActiveModeRow, ProfileRow
from luna.presets import new_profile, presets
from luna.records import Profile
from orbsite.admin.records.model_admin import RecordAdmin, excerpt


class ModeFilter(admin.SimpleListFilter):
    """Filters by the modes that have a preset; any other mode is found by search."""

    title = "mode"
    parameter_name = "mode_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The modes, by their labels."""
        return [(mode, preset.label) for mode, preset in presets().items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows in the chosen mode."""
        return queryset.filter(mode_id=self.value()) if self.value() else queryset


@admin.register(ProfileRow)
class ProfileAdmin(RecordAdmin):
    """Profiles by user and mode."""

    list_display = ("user_id", "mode_id", "shown_preferences", "shown_constraints", "updated_at")
    list_display_links = ("user_id", "mode_id")
    list_filter = (ModeFilter,)
    sortable_by = ("user_id",)
    search_fields = ("user_id", "mode_id")
    search_help_text = "a whole user id or mode id"
    ordering = ("user_id", "mode_id")

    def preset(self, record: Profile) -> Profile:
        """Return a profile with what its mode begins with; its time and unknown keys stay."""
        first = new_profile(record.user_id, record.mode_id, record.updated_at)
        return msgspec.structs.replace(record, preferences=first.preferences, constraints=first.constraints)

    @admin.display(description="preferences")
    def shown_preferences(self, row: ProfileRow) -> str:
        """The preferences in a line."""
        return excerpt(_in_a_line(row.preferences, str))

    @admin.display(description="constraints")
    def shown_constraints(self, row: ProfileRow) -> str:
        """What each constraint says of itself."""
        return excerpt(_in_a_line(row.constraints, _in_words))


@admin.register(ActiveModeRow)
class ActiveModeAdmin(RecordAdmin):
    """Which mode each user is in."""

    list_display = ("user_id", "mode_id", "updated_at")
    list_filter = (ModeFilter,)
    sortable_by = ("user_id",)
    search_fields = ("user_id", "mode_id")
    search_help_text = "a whole user id or mode id"
    ordering = ("user_id",)


def _in_a_line(held: Any, in_words: Callable[[Any], str]) -> str:
    return ", ".join(map(in_words, held)) if isinstance(held, list) else json.dumps(held, ensure_ascii=False)


def _in_words(constraint: Any) -> str:
    if isinstance(constraint, dict):
        return str(constraint.get("description") or constraint.get("type") or constraint.get("id"))
    return str(constraint)
