"""Moves records from files, or an earlier database, into SQL: new, unchanged, replaced, kept or rejected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from orbsite.models.ledger import Run
from orbsite.operations.migration.database_source import LegacyDatabase
from orbsite.operations.migration.file_source import DocumentsSnapshot
from orbsite.operations.migration.run import Transfer
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report
from orbsite.storage.records.domain import Domain


def migrate(
    domains: list[Domain],
    base: Path,
    *,
    now: Callable[[], datetime],
    backup_to: Path | None = None,
    dry_run: bool = False,
    incremental: bool = False,
    only_rejected: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Report:
    """Move what the files under a data directory hold into SQL, and account for every record.

    Nothing is written where one of the files cannot be read (DocumentError), nor with `dry_run`. A run over the same
    files that was interrupted is gone on with; with `resume`, nothing else is done (OrbError where there is none). With
    `incremental`, a file that is as the last complete run read it is not looked into; with `only_rejected`, only what
    earlier runs had to leave is tried. With `backup_to`, files and database are kept there first.
    """
    snapshot = DocumentsSnapshot(domains, base)
    transfer = Transfer(
        snapshot, domains, Run.Operation.RETRY if only_rejected else Run.Operation.MIGRATE, now=now, progress=progress
    )
    if dry_run:
        return transfer.look()
    return transfer.run(backup_to, resume=resume, incremental=incremental)


def import_database(
    domains: list[Domain],
    url: str,
    *,
    now: Callable[[], datetime],
    backup_to: Path | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Report:
    """Move what a database of the earlier system holds into SQL, and account for every record.

    With `backup_to`, our own database is kept there first. Raises StoreUnavailable where the other cannot be read.
    """
    with LegacyDatabase(url, progress) as origin:
        transfer = Transfer(origin, domains, Run.Operation.IMPORT, now=now, progress=progress)
        return transfer.look() if dry_run else transfer.run(backup_to)
