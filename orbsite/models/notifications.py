"""Notifications of alerts: one row for each alert that began, and for each channel that tells of it."""

from __future__ import annotations

from django.db import models


class Notification(models.Model):
    """An alert as one channel tells of it: once when it has begun, and once when it has ended."""

    alert = models.CharField(max_length=200, help_text="The name of the alert, such as `backup`.")
    channel = models.CharField(max_length=8)
    severity = models.CharField(max_length=8)
    title = models.CharField(max_length=300)
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    begin_sent_at = models.DateTimeField(null=True)
    end_sent_at = models.DateTimeField(null=True)
    tries = models.PositiveIntegerField(default=0, help_text="How often the next message could not be sent.")
    next_try = models.DateTimeField(help_text="Not before then; a worker that sends sets it ahead.")

    class Meta:
        db_table = "orb_notifications"
        ordering = ["-id"]
        indexes = [models.Index(fields=["end_sent_at", "next_try"], name="orb_notifications_due")]
        constraints = [
            models.UniqueConstraint(
                fields=["alert", "channel"], condition=models.Q(ended_at=None), name="orb_notifications_open_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.alert} by {self.channel}"
