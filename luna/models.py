"""The tables of profiles and active modes, with the column names of the earlier system."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from luna.records import ActiveMode, Profile
from orbsite.storage.records.record import Record
from orbsite.storage.sql.constraints import id_rules, list_or_object_rules
from orbsite.storage.sql.models import JSONColumn, KeyField, RecordRow


class ProfileRow(RecordRow):
    """A profile in SQL. Indexed queries: one profile by user and mode, and all profiles in a mode."""

    kind: ClassVar[type[Record]] = Profile

    id = models.BigAutoField(primary_key=True)
    user_id = KeyField()
    mode_id = KeyField()
    preferences = JSONColumn(default=list, blank=True)
    constraints = JSONColumn(default=list, blank=True)
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "luna_profiles"
        verbose_name = "profile"
        indexes = [models.Index(fields=["mode_id", "user_id"], name="luna_profiles_mode")]
        constraints = [
            models.UniqueConstraint(fields=["user_id", "mode_id"], name="luna_profiles_key"),
            *id_rules("luna_profiles", "user_id", "mode_id"),
            *list_or_object_rules("luna_profiles", "preferences", "constraints"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.mode_id}"


class ActiveModeRow(RecordRow):
    """An active mode in SQL. Indexed queries: the active mode of a user, and all users in a mode."""

    kind: ClassVar[type[Record]] = ActiveMode

    user_id = KeyField(primary_key=True)
    mode_id = KeyField()
    updated_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "luna_active_modes"
        verbose_name = "active mode"
        indexes = [models.Index(fields=["mode_id", "user_id"], name="luna_active_modes_mode")]
        constraints = [*id_rules("luna_active_modes", "user_id", "mode_id")]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.mode_id}"
