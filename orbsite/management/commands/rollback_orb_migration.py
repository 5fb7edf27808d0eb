"""manage.py rollback_orb_migration: undo one run."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.migration.rollback import rollback
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Undo one run."""

    help = "Undo one run: what it created is removed, what it replaced comes back, what was changed since is kept."
    reads_files = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the run, --dry-run and --force."""
        super().add_arguments(parser)
        parser.add_argument(
            "run", type=int, metavar="RUN", help="the number of the run, as its report and the admin tell"
        )
        parser.add_argument("--dry-run", action="store_true", help="tell what would become of each row; write nothing")
        parser.add_argument("--force", action="store_true", help="undo rows too that were changed since")

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        """Roll back."""
        return rollback(
            options["run"],
            domains,
            now=utc_now,
            dry_run=options["dry_run"],
            force=options["force"],
            progress=progress,
        )
