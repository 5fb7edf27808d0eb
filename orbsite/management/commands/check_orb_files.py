"""manage.py check_orb_files: look for damage."""

from __future__ import annotations

from typing import Any

from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.files.check import check
from orbsite.operations.report import Report
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Look for damage in the files."""

    help = (
        "Look for damage in the files, their journals, and what lies beside them; nothing is written. "
        "What is wrong with single records, validate_orb_files tells."
    )
    unit = "files"

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:  # noqa: ARG002
        """Check."""
        return check(domains, self.base(options))
