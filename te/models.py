"""The table of reflections, with the column names of the earlier system."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from orbsite.storage.records.record import Record
from orbsite.storage.sql.constraints import id_rules, list_rules, text_rules
from orbsite.storage.sql.models import JSONColumn, KeyField, RecordRow
from te.records import Reflection


class ReflectionRow(RecordRow):
    """A reflection in SQL. Indexed queries: by user and id, by id, the latest of a user, and those of a session.

    `row_id` is for Django only. Records, files and API addresses do not contain it.
    """

    kind: ClassVar[type[Record]] = Reflection

    row_id = models.BigAutoField(primary_key=True)
    id = KeyField()
    user_id = KeyField()
    session_id = KeyField()
    input = models.TextField(blank=True)
    output = models.TextField(blank=True)
    tags = JSONColumn(default=list, blank=True)
    notes = models.TextField(null=True, blank=True)  # noqa: DJ001 -- null and empty notes differ
    created_at = models.DateTimeField()

    class Meta:
        db_table = "te_reflections"
        verbose_name = "reflection"
        indexes = [
            models.Index(fields=["user_id", "created_at", "id"], name="te_reflections_user"),
            models.Index(fields=["session_id", "created_at", "id", "user_id"], name="te_reflections_session"),
            models.Index(fields=["created_at", "id", "user_id"], name="te_reflections_oldest"),
            models.Index(fields=["id"], name="te_reflections_id"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["user_id", "id"], name="te_reflections_key"),
            *id_rules("te_reflections", "id", "user_id", "session_id"),
            *text_rules("te_reflections", "input", "output", "notes"),
            *list_rules("te_reflections", "tags"),
        ]

    def __str__(self) -> str:
        return str(self.id)
