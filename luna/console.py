"""Admin pages of profiles and active modes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from django.contrib import admin
from django.utils.safestring import SafeString

from luna.models import ActiveModeRow, ProfileRow
from luna.presets import new_profile
from luna.records import Profile
from orbsite.admin.base.cells import text_cell, time_cell
from orbsite.admin.records.filters import OfUser, of_value
from orbsite.admin.records.model_admin import RecordAdmin
from orbsite.storage.clock import utc_now

OF_MODE = of_value("mode_id", "mode")


class ModeAdmin(RecordAdmin):
    """Columns of records that belong to a mode."""

    @admin.display(description="mode")
    def shown_mode(self, row: Any) -> SafeString:
        """The mode of the record."""
        return text_cell(row.mode_id, "Mode")

    @admin.display(description="updated")
    def shown_time(self, row: Any) -> SafeString:
        """The time of the last change, relative to now."""
        return time_cell(row.updated_at, utc_now())


@admin.register(ProfileRow)
class ProfileAdmin(ModeAdmin):
    """Admin pages of profiles, ordered by user and mode."""

    list_display = ("shown_user", "shown_mode", "shown_preferences", "shown_constraints", "shown_time")
    list_display_links = ("shown_mode",)
    list_filter = (OfUser, OF_MODE)
    sortable_by = ("shown_user",)
    search_fields = ("user_id", "mode_id")
    search_help_text = "Enter a complete user id or mode id."
    ordering = ("user_id", "mode_id")
    brief = {"constraints": ("description", "type", "active")}
    suggested = {"constraints": ("type", "maxRisk")}

    def preset(self, record: Profile) -> Profile:
        """Return a profile with the preferences and constraints of its mode's preset. Other fields stay."""
        initial = new_profile(record.user_id, record.mode_id, record.updated_at)
        return msgspec.structs.replace(record, preferences=initial.preferences, constraints=initial.constraints)

    @admin.display(description="preferences")
    def shown_preferences(self, row: ProfileRow) -> SafeString:
        """The preferences on one line."""
        return text_cell(_in_a_line(row.preferences, str), "Preferences")

    @admin.display(description="constraints")
    def shown_constraints(self, row: ProfileRow) -> SafeString:
        """The descriptions of the constraints on one line."""
        return text_cell(_in_a_line(row.constraints, _description), "Constraints")


@admin.register(ActiveModeRow)
class ActiveModeAdmin(ModeAdmin):
    """Admin pages of active modes, ordered by user."""

    list_display = ("shown_user", "shown_mode", "shown_time")
    list_display_links = ("shown_mode",)
    list_filter = (OfUser, OF_MODE)
    sortable_by = ("shown_user",)
    search_fields = ("user_id", "mode_id")
    search_help_text = "Enter a complete user id or mode id."
    ordering = ("user_id",)


def _in_a_line(value: Any, describe: Callable[[Any], str]) -> str:
    return ", ".join(map(describe, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)


def _description(constraint: Any) -> str:
    if isinstance(constraint, dict):
        return str(constraint.get("description") or constraint.get("type") or constraint.get("id"))
    return str(constraint)
