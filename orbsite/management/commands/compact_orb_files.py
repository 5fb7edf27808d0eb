"""manage.py compact_orb_files: make the files small."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from orbsite.management.base import OrbCommand
from orbsite.management.meter import Meter
from orbsite.operations.compact import compact
from orbsite.operations.report import Report
from orbsite.storage.domain import Domain


class Command(OrbCommand):
    """Fold the journals of the files."""

    help = "Fold the journals into their documents, which then have the layout that other programs read."
    unit = "files"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --dry-run."""
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="tell the sizes; write nothing")

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:  # noqa: ARG002
        """Compact."""
        return compact(domains, self.base(options), dry_run=options["dry_run"])
