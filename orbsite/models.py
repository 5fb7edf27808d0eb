"""The ledger: what ran, when, over what, and how it ended."""

from __future__ import annotations

from django.db import models


class Run(models.Model):
    """One run of an operation that writes."""

    class State(models.TextChoices):
        """How far a run is."""

        RUNNING = "running"
        COMPLETE = "complete"
        FAILED = "failed"

    operation = models.CharField(max_length=40)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    source = models.TextField(blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    counts = models.JSONField(default=dict)

    class Meta:
        db_table = "orb_runs"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.operation} {self.pk}"
