from __future__ import annotations

from django.db import models

from orbsite.storage.sql.constraints import id_rules
from orbsite.storage.sql.models import KeyField, RecordRow
from tests.mav.records import Action


class ActionRow(RecordRow):
    kind = Action

    id = KeyField(primary_key=True)
    user_id = KeyField()
    title = models.TextField()
    done_at = models.DateTimeField()

    class Meta:
        app_label = "mav"
        db_table = "mav_actions"
        constraints = [*id_rules("mav_actions", "id", "user_id")]

    def __str__(self) -> str:
        return str(self.id)
