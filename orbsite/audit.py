"""Who did what that matters afterwards: exports, erasures, tokens, what destroys. Ids and numbers, never contents."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models


class Event(models.Model):
    """One act of somebody. Rows are added alone."""

    at = models.DateTimeField(db_index=True)
    actor = models.TextField(help_text="Who did it, as they sign in.")
    act = models.CharField(max_length=40, help_text="Such as export, erase, rollback, revoke.")
    subject = models.TextField(blank=True, help_text="To what, by its id.")
    facts = models.JSONField(default=dict, help_text="Numbers, ids and arguments.")
    address = models.TextField(blank=True, help_text="The address that the request came from.")

    class Meta:
        db_table = "orb_audit"
        ordering = ["-id"]
        indexes = [models.Index(fields=["act", "at"], name="orb_audit_act")]

    def __str__(self) -> str:
        return f"{self.act} by {self.actor} at {self.at}"


def note(at: datetime, actor: str, act: str, *, subject: str = "", address: str = "", **facts: Any) -> Event:
    """Add a row to the trail, within the caller's transaction."""
    return Event.objects.create(at=at, actor=actor, act=act, subject=subject, address=address, facts=facts)
