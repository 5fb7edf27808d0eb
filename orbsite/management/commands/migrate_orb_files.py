"""manage.py migrate_orb_files: move the files' records into SQL."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from orbsite.conf import app_settings
from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Move the records of files into SQL, and account for every one."""

    help = "Move the records of files into SQL: each one is new, unchanged, replaced, kept or rejected."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add what there is to choose."""
        super().add_arguments(parser)
        parser.add_argument(
            "--dry-run", action="store_true", help="tell what would become of each record; write nothing"
        )
        parser.add_argument(
            "--incremental", action="store_true", help="leave out files that are as the last complete run read them"
        )
        parser.add_argument("--no-backup", action="store_true", help="do not keep files and database first")
        parser.add_argument(
            "--resume", action="store_true", help="only go on with a run that was interrupted, which any run does first"
        )
        parser.add_argument(
            "--retry-rejected", action="store_true", help="only try again what earlier runs had to leave"
        )

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        """Migrate."""
        return migrate(
            domains,
            self.base(options),
            now=utc_now,
            backup_to=None if options["no_backup"] else app_settings.backup_directory(),
            dry_run=options["dry_run"],
            incremental=options["incremental"],
            only_rejected=options["retry_rejected"],
            resume=options["resume"],
            progress=progress,
        )
