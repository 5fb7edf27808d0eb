"""manage.py import_orb_database: move a database of the earlier system."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from typing_extensions import override

from orbsite.conf import app_settings
from orbsite.management.base import OrbCommand
from orbsite.management.operation_command import add_options
from orbsite.management.progress_bar import Meter
from orbsite.operations.jobs.catalog import Import
from orbsite.operations.migration.migrate import import_database
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Move the records of a database of the earlier system into SQL."""

    help = "Move the records of a database of the earlier system, orb.db or PostgreSQL, into SQL; it is only read."
    reads_files = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the address, --dry-run and --no-backup."""
        super().add_arguments(parser)
        parser.add_argument(
            "url",
            metavar="URL",
            help="path/to/orb.db, sqlite:////path/to/orb.db, or postgresql://user:password@host/name",
        )
        add_options(parser, Import, "dry_run", "backup")

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        return import_database(
            domains,
            options["url"],
            now=utc_now,
            backup_to=None if options["no_backup"] else app_settings.backup_directory(),
            dry_run=options["dry_run"],
            progress=progress,
        )
