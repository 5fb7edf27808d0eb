"""Jobs: long operations that a worker runs."""

from __future__ import annotations

from django.db import models

OPERATIONS = (
    "migrate",
    "verify",
    "rollback",
    "validate",
    "sanitize",
    "upgrade-files",
    "upgrade-rows",
    "check",
    "repair",
    "compact",
    "cleanup",
    "export",
    "backup",
    "import",
    "preview",
    "maintain",
    "erase",
    "index",
    "measure",
)
"""The operations that can run as jobs. Each has a permission to start it."""


class JobState(models.TextChoices):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (JobState.QUEUED, JobState.RUNNING)
"""The states of a job that has not ended."""


class Job(models.Model):
    """A long operation that a user or a token started and a worker runs."""

    operation = models.CharField(max_length=40)
    arguments = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=9, choices=JobState.choices, default=JobState.QUEUED)
    progress = models.PositiveBigIntegerField(default=0)
    expected = models.PositiveBigIntegerField(null=True)
    wants_to_stop = models.BooleanField(default=False)
    so_far = models.JSONField(null=True, help_text="What it has told while it ran.")
    result = models.JSONField(null=True)
    samples = models.JSONField(null=True, help_text="Records before and after, for those who may see the rows.")
    error = models.TextField(blank=True)
    actor = models.CharField(max_length=255, blank=True, help_text="Who started it.")
    token = models.ForeignKey(
        "orbsite.Token",
        on_delete=models.SET_NULL,
        null=True,
        related_name="jobs",
        db_index=False,
        help_text="The token that started it, if one did.",
    )
    attempt = models.UUIDField(
        null=True, unique=True, help_text="The request that started it: sent again, it finds this job."
    )
    fingerprint = models.CharField(
        max_length=64, blank=True, help_text="Of its operation, arguments and owner: equal jobs that wait are one."
    )
    enqueued_at = models.DateTimeField(null=True, help_text="When the workers' queue took it; empty: not yet.")
    worker = models.CharField(max_length=100, blank=True)
    heartbeat = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "orb_jobs"
        ordering = ["-id"]
        permissions = [(f"start_{name}", f"May start: {name}") for name in OPERATIONS]
        indexes = [
            models.Index(fields=["state"], name="orb_jobs_state"),
            models.Index(fields=["token", "created_at"], name="orb_jobs_of_token"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["fingerprint"],
                condition=models.Q(state="queued") & ~models.Q(fingerprint=""),
                name="orb_jobs_waiting_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.pk}"
