"""The audit log of exports, erasures, token changes and destructive acts. It holds ids and numbers, never contents."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models

from orbsite.storage.encoding.json_parser import UNCLEAN

ACTS = (
    "sign in",
    "sign in failed",
    "sign out",
    "confirm",
    "confirm failed",
    "second factor",
    "second factor failed",
    "second factor set up",
    "second factor reset",
    "password changed",
    "user made",
    "user changed",
    "user removed",
    "group made",
    "group changed",
    "group removed",
    "token made",
    "tokens revoked",
    "policy made",
    "policy changed",
    "policy removed",
    "policies made due",
    "migrate",
    "rollback",
    "sanitize",
    "upgrade-files",
    "upgrade-rows",
    "repair",
    "compact",
    "cleanup",
    "maintain",
    "open",
    "export",
    "download",
    "import",
    "upload",
    "erase",
    "records removed",
    "job cancelled",
    "bulk migration retried",
    "bulk migration workers",
)
"""The acts that the audit log records."""


class Event(models.Model):
    """One recorded act of a user. Rows are only added."""

    at = models.DateTimeField()
    actor = models.TextField(help_text="Who did it, as they sign in.")
    act = models.CharField(max_length=40, help_text="Such as export, erase, rollback, revoke.")
    subject = models.TextField(blank=True, help_text="To what, by its id.")
    facts = models.JSONField(default=dict, help_text="Numbers, ids and arguments.")
    address = models.TextField(blank=True, help_text="The address that the request came from.")

    class Meta:
        db_table = "orb_audit"
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["at", "id"], name="orb_audit_at"),
            models.Index(fields=["act", "at", "id"], name="orb_audit_of_act"),
            models.Index(fields=["actor", "at", "id"], name="orb_audit_actor"),
            models.Index(fields=["subject", "at", "id"], name="orb_audit_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.act} by {self.actor} at {self.at}"


def note(at: datetime, actor: str, act: str, *, subject: str = "", address: str = "", **facts: Any) -> Event:
    """Add a row to the audit log in the caller's transaction. Characters that a database cannot store are dropped."""
    known = UNCLEAN.sub("", subject)
    return Event.objects.create(at=at, actor=actor, act=act, subject=known, address=address, facts=facts)
