"""manage.py restore_orb_backup: put a backup in the place of what is there."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from typing_extensions import override

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
        "Check a backup, and report what it would change; with --apply, replace files and database by it, "
        "after a backup of their present state. Stop the servers that use them first."
    )
    unit = "files"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the backup, --apply, --no-files, --no-database and --no-backup."""
        super().add_arguments(parser)
        parser.add_argument("backup", type=a_path, metavar="DIR", help="a directory that create_orb_backup made")
        parser.add_argument(
            "--apply", action="store_true", help="carry out the changes; without it they are only reported"
        )
        parser.add_argument("--no-files", action="store_true", help="do not restore the files")
        parser.add_argument("--no-database", action="store_true", help="do not restore the database")
        parser.add_argument("--no-backup", action="store_true", help="make no backup of the present state first")

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
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
