"""manage.py cleanup_orb_files: remove what is left over."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from orbsite.conf import app_settings
from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.files.cleanup import GRACE, Times, cleanup
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Remove our own leftovers."""

    help = (
        "Tell what is left over: temporary files of dead processes, asides, expired tombstones and backups; with "
        "--apply, remove it. Files of other layers are not touched, unknown ones only when they are named."
    )
    unit = "files"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --apply, --grace-days, --remove and --no-backups."""
        super().add_arguments(parser)
        parser.add_argument("--apply", action="store_true", help="do it")
        parser.add_argument(
            "--grace-days",
            type=float,
            default=GRACE / timedelta(days=1),
            help="leave what is younger, by its last change or by its name (default: %(default)g)",
        )
        parser.add_argument(
            "--remove",
            action="append",
            default=[],
            metavar="NAME",
            help="an unknown file that is to go, as it is listed",
        )
        parser.add_argument("--no-backups", action="store_true", help="leave the backups as they are")

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        """Clean up."""
        return cleanup(
            domains,
            self.base(options),
            times=Times.of(
                utc_now(),
                options["grace_days"],
                app_settings.undo_days(),
                app_settings.keep_backups_days(),
                app_settings.keep_exports_days(),
            ),
            apply=options["apply"],
            unknown=options["remove"],
            backups=None if options["no_backups"] else app_settings.backup_directory(),
            progress=progress,
        )
