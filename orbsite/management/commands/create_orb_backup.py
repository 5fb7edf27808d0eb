"""manage.py create_orb_backup: keep files and database."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from typing_extensions import override

from orbsite.conf import app_settings
from orbsite.management.base import OrbCommand, a_path
from orbsite.management.operation_command import add_options
from orbsite.management.progress_bar import Meter
from orbsite.operations.backup.create import backup
from orbsite.operations.jobs.catalog import Backup
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Create a backup."""

    help = "Back up the files and the whole SQL database to a new directory, with a manifest and checksums."
    unit = "files"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --to, --no-files, --no-database and --label."""
        super().add_arguments(parser)
        parser.add_argument(
            "--to", type=a_path, metavar="DIR", help="the directory to create the backup in (default: ORB_BACKUP_DIR)"
        )
        parser.add_argument("--no-files", action="store_true", help="do not back up the files")
        parser.add_argument("--no-database", action="store_true", help="do not back up the database")
        add_options(parser, Backup, "label")

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        return backup(
            domains,
            self.base(options),
            options["to"] or app_settings.backup_directory(),
            now=utc_now,
            files=not options["no_files"],
            database=not options["no_database"],
            label=options["label"],
        )
