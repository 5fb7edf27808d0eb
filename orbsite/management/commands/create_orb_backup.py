"""manage.py create_orb_backup: keep files and database."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from orbsite.conf import app_settings
from orbsite.management.base import OrbCommand, a_path
from orbsite.management.progress_bar import Meter
from orbsite.operations.backup.create import backup
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Make a backup."""

    help = "Keep the files and the whole SQL database in a new directory, with a manifest and checksums."
    unit = "files"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --to, --no-files, --no-database and --label."""
        super().add_arguments(parser)
        parser.add_argument("--to", type=a_path, metavar="DIR", help="where to make it (default: ORB_BACKUP_DIR)")
        parser.add_argument("--no-files", action="store_true", help="leave the files out")
        parser.add_argument("--no-database", action="store_true", help="leave the database out")
        parser.add_argument("--label", default="", metavar="TEXT", help="why it is made, for the manifest")

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:  # noqa: ARG002
        """Back up."""
        return backup(
            domains,
            self.base(options),
            options["to"] or app_settings.backup_directory(),
            now=utc_now,
            files=not options["no_files"],
            database=not options["no_database"],
            label=options["label"],
        )
