"""Bulk migrations: many data directories under one directory, which any number of workers migrate."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.db import models


def key_of(path: Path) -> str:
    """Return the identity of a directory: the SHA-256 of its path, which may hold bytes that are no text."""
    return sha256(os.fsencode(path)).hexdigest()


def name_of(path: Path) -> str:
    """Return a path as text, as the ledger names the source of a run."""
    return os.fsencode(path).decode(errors="backslashreplace")


def identity_of(path: Path) -> dict[str, Any]:
    """Return the values of the columns that identify a directory by its resolved path."""
    return {"key": key_of(path), "name": name_of(path), "location": os.fsencode(path)}


class BulkMigration(models.Model):
    """The data directories under one directory, and how they are migrated. All workers see them at the same path."""

    name = models.TextField(help_text="The directory that holds the data directories.")
    location = models.BinaryField(help_text="The same path, to the byte.")
    key = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the path.")
    options = models.JSONField(default=dict, help_text="How each directory is migrated.")
    backup = models.TextField(blank=True, help_text="Where the database was kept before it.")
    workers = models.PositiveSmallIntegerField(default=0, help_text="How many jobs of the task queue work on it.")
    created_at = models.DateTimeField()

    class Meta:
        db_table = "orb_bulk_migrations"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"bulk migration {self.pk}"

    @property
    def path(self) -> Path:
        """The directory that holds the data directories."""
        return Path(os.fsdecode(bytes(self.location)))


class DirectoryState(models.TextChoices):
    """The state of a data directory in a bulk migration."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


UNFINISHED = (DirectoryState.WAITING, DirectoryState.RUNNING)
"""The states of a directory that is still to be migrated."""


class BulkDirectory(models.Model):
    """A data directory of a bulk migration. A worker claims it, and only the latest claim may finish it."""

    bulk = models.ForeignKey(BulkMigration, on_delete=models.CASCADE, related_name="directories", db_index=False)
    name = models.TextField(help_text="Its path.")
    location = models.BinaryField(help_text="The same path, to the byte.")
    key = models.CharField(max_length=64, help_text="SHA-256 of the path.")
    state = models.CharField(max_length=7, choices=DirectoryState.choices, default=DirectoryState.WAITING)
    tries = models.PositiveIntegerField(default=0, help_text="How many times a worker has begun with it.")
    claim = models.PositiveIntegerField(default=0, help_text="The number of its latest claim.")
    worker = models.CharField(max_length=100, blank=True)
    heartbeat = models.DateTimeField(null=True)
    not_before = models.DateTimeField(null=True, help_text="When it is tried again after an error.")
    progress = models.PositiveBigIntegerField(default=0)
    expected = models.PositiveBigIntegerField(null=True)
    run = models.ForeignKey("orbsite.Run", on_delete=models.SET_NULL, null=True, related_name="+")
    read = models.PositiveBigIntegerField(default=0, help_text="How many records the run read.")
    written = models.PositiveBigIntegerField(default=0, help_text="How many of them it wrote.")
    problems = models.PositiveBigIntegerField(default=0, help_text="How many it rejected or could not verify.")
    result = models.JSONField(null=True)
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "orb_bulk_directories"
        ordering = ["id"]
        verbose_name_plural = "bulk directories"
        indexes = [models.Index(fields=["bulk", "state", "id"], name="orb_bulk_directories_state")]
        constraints = [models.UniqueConstraint(fields=["bulk", "key"], name="orb_bulk_directories_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """The data directory, as a path."""
        return Path(os.fsdecode(bytes(self.location)))
