"""Admin pages of bulk migrations and their directories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from orbsite.admin.links import Link
from orbsite.admin.records.model_admin import LedgerAdmin, pretty
from orbsite.models.bulk_migrations import BulkDirectory, BulkMigration


@admin.register(BulkMigration)
class BulkMigrationAdmin(LedgerAdmin):
    """Pages of bulk migrations. The command begins them, and a page of their own shows their progress."""

    list_display = ("id", "name", "workers", "created_at")
    fields = ("name", "options", "backup", "workers", "created_at")

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Link a bulk migration to its progress."""
        if row is not None:
            yield "Show progress", reverse("admin:bulk", args=[row.pk])


@admin.register(BulkDirectory)
class BulkDirectoryAdmin(LedgerAdmin):
    """Pages of data directories: their state, their run, and the reason why one failed."""

    list_display = ("id", "name", "state", "tries", "run", "read", "written", "problems", "finished_at")
    list_filter = ("state", "bulk")
    list_select_related = ("run",)
    fields = (
        *("bulk", "name", "state", "error", "run", "read", "written", "problems", "progress", "expected", "tries"),
        *("worker", "heartbeat", "not_before", "started_at", "finished_at", "shown_result"),
    )
    readonly_fields = ("shown_result",)

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Link a directory to the progress of its bulk migration."""
        if row is not None:
            yield "Show progress", reverse("admin:bulk", args=[row.bulk_id])

    @admin.display(description="result")
    def shown_result(self, directory: BulkDirectory) -> Any:
        """The report of the directory's run as JSON."""
        return pretty(directory.result)
