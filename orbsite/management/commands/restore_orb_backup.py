"""manage.py restore_orb_backup: put a backup in the place of what is there."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from orbsite.conf import app_settings
from orbsite.management.base import OrbCommand, a_path
from orbsite.management.progress_bar import Meter
from orbsite.operations.backup.restore import restore
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Restore a backup."""

    help = (
        "Check a backup, and tell what it would change; with --apply, put it in the place of what is there, "
        "which is backed up first. Stop the servers that use the files and the database before that."
    )
    unit = "files"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the backup, --apply, --no-files, --no-database and --no-backup."""
        super().add_arguments(parser)
        parser.add_argument("backup", type=a_path, metavar="DIR", help="the directory that create_orb_backup has made")
        parser.add_argument("--apply", action="store_true", help="do it")
        parser.add_argument("--no-files", action="store_true", help="leave the files as they are")
        parser.add_argument("--no-database", action="store_true", help="leave the database as it is")
        parser.add_argument("--no-backup", action="store_true", help="do not back up what is there now")

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:  # noqa: ARG002
        """Restore."""
        return restore(
            domains,
            options["backup"],
            base=self.base(options),
            now=utc_now,
            apply=options["apply"],
            files=not options["no_files"],
            database=not options["no_database"],
            safety=None if options["no_backup"] else app_settings.backup_directory(),
        )
