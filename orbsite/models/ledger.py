"""The ledger: runs of operations, the changes that they made, and the source items that they rejected."""

from __future__ import annotations

import secrets

from django.db import models

_RANDOM_BITS = 62


def new_uid() -> int:
    """Return a random number of 63 bits for a run. The highest bit is set, so that it is above every primary key."""
    return 1 << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)


class RunState(models.TextChoices):
    """The state of a run."""

    RUNNING = "running"
    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    ROLLED_BACK = "rolled back"


class Run(models.Model):
    """One run of an operation that writes.

    Users name a run by its primary key, which another database or a new ledger may use again. Rows name the run that
    wrote them by its `uid`, which is unique across databases.
    """

    class Operation(models.TextChoices):
        """The operations that the ledger records."""

        MIGRATE = "migrate"
        IMPORT = "import"
        RETRY = "retry"
        VERIFY = "verify"
        ROLLBACK = "rollback"
        COMPACT = "compact"
        UNDO = "undo"
        SANITIZE = "sanitize"
        EDIT = "edit"
        REMOVE = "remove"
        RESTORE = "restore"

    uid = models.BigIntegerField(unique=True, default=new_uid, editable=False)
    operation = models.CharField(max_length=40)
    state = models.CharField(max_length=12, choices=RunState.choices, default=RunState.RUNNING)
    source = models.TextField(blank=True)
    source_digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of everything that it reads.")
    sources = models.JSONField(default=dict, help_text="SHA-256 of each domain's part of the source.")
    backup = models.TextField(blank=True, help_text="Where files and database were kept before it.")
    cursor = models.JSONField(default=dict, help_text="How many entries of each domain it has dealt with.")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    counts = models.JSONField(default=dict)
    verification = models.JSONField(null=True, blank=True)
    reverts = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="reverted_by")

    class Meta:
        db_table = "orb_runs"
        ordering = ["-id"]
        indexes = [models.Index(fields=["operation", "id"], name="orb_runs_operation")]

    def __str__(self) -> str:
        return f"{self.operation} {self.pk}"


class Change(models.Model):
    """A record that a run replaced or removed. A row that the run created carries the run's uid instead.

    A change with a reason is a tombstone. Tombstones are written in millions, so the database checks neither their run
    nor the uniqueness of their keys. A change by hand is recorded too, also of a new record, and its time is that of
    its run.
    """

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="changes", db_constraint=False)
    domain = models.CharField(max_length=40)
    kind = models.CharField(max_length=40)
    key = models.TextField(help_text="The record's key, as a JSON list.")
    before = models.TextField(help_text="What was replaced, as a step of a journal.")
    before_run = models.BigIntegerField(null=True, help_text="The uid of the run that had written what was replaced.")
    before_position = models.IntegerField(null=True)
    after = models.CharField(
        max_length=64, help_text="The digest of what the run left, or, of what it removed, the one that the row had."
    )
    actor = models.TextField(blank=True, default="", help_text="Who wanted it.")
    at = models.DateTimeField(null=True, blank=True, help_text="When retention removed it; else its run says when.")
    reason = models.TextField(blank=True, default="", help_text="Why; empty for what was replaced.")

    class Meta:
        db_table = "orb_changes"
        constraints = [
            models.UniqueConstraint(
                fields=["run", "domain", "kind", "key"], condition=models.Q(reason=""), name="orb_changes_once"
            )
        ]
        indexes = [
            models.Index(fields=["key"], condition=models.Q(at=None), name="orb_changes_history")  # not for tombstones
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key} by run {self.run_id}"


class Reject(models.Model):
    """A source item that a run could not import, with its original JSON."""

    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="rejects")
    domain = models.CharField(max_length=40)
    kind = models.CharField(max_length=40)
    path = models.TextField()
    reason = models.TextField()
    original = models.TextField(help_text="Its JSON, as it was read.")
    owner = models.TextField(blank=True, default="", help_text="The user whose it is, where that can be told.")
    settled_by = models.ForeignKey(Run, null=True, blank=True, on_delete=models.PROTECT, related_name="settled")

    class Meta:
        db_table = "orb_rejects"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["domain", "settled_by"], name="orb_rejects_open"),
            models.Index(fields=["domain", "id"], name="orb_rejects_domain"),
        ]

    def __str__(self) -> str:
        return f"{self.path} left by run {self.run_id}"
