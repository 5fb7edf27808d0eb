"""Migrates records from files, or from an earlier database, into SQL: new, unchanged, replaced, kept or rejected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from orbsite.models.ledger import Run
from orbsite.operations.migration.databases.database_source import LegacyDatabase
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
    """Migrate the files under a data directory into SQL, and account for every record.

    Nothing is written where one of the files cannot be read (DocumentError), nor with `dry_run`. An interrupted run
    over the same files is resumed; with `resume`, nothing else is done (OrbError where there is no such run). With
    `incremental`, a file that is unchanged since the last complete run is skipped. With `only_rejected`, only the items
    that earlier runs rejected are tried. With `backup_to`, files and database are first backed up there.
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
    """Import a database of the earlier system into SQL, and account for every record.

    With `backup_to`, our own database is first backed up there. Raises StoreUnavailable where the source cannot be
    read.
    """
    with LegacyDatabase(url, progress) as source:
        transfer = Transfer(source, domains, Run.Operation.IMPORT, now=now, progress=progress)
        return transfer.look() if dry_run else transfer.run(backup_to)
