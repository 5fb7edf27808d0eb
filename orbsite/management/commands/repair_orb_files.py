"""manage.py repair_orb_files: mend what check_orb_files finds."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.files.check import repair
from orbsite.operations.report import Report
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Mend what is damaged in the files."""

    help = "Mend what check_orb_files finds; without --apply, only tell what would be done. Nothing is thrown away."
    unit = "files"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --apply and --restore-previous."""
        super().add_arguments(parser)
        parser.add_argument("--apply", action="store_true", help="do it; whatever is replaced is kept aside first")
        parser.add_argument(
            "--restore-previous",
            action="store_true",
            help="where a document is lost or cannot be read, go back to the generation before it",
        )

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:  # noqa: ARG002
        """Repair."""
        return repair(domains, self.base(options), apply=options["apply"], restore=options["restore_previous"])
