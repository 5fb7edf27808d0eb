"""manage.py verify_orb_files: compare files with SQL."""

from __future__ import annotations

from typing import Any

from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.migration.verify import verify
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Compare the files with SQL."""

    help = "Compare the files with SQL, record by record, and list every difference; the ledger alone is written to."

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        """Verify."""
        return verify(domains, self.base(options), now=utc_now, progress=progress)
