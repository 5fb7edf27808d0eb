"""manage.py validate_orb_files: check the files."""

from __future__ import annotations

from typing import Any

from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.files.validate import validate
from orbsite.operations.report import Report
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Check every record of the files."""

    help = "Check every record of the files, and list what is wrong with its path; nothing is written."

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        """Validate."""
        return validate(domains, self.base(options), progress=progress)
