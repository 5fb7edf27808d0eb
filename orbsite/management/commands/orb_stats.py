"""manage.py orb_stats: count what the configured store holds."""

from __future__ import annotations

from typing import Any

from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.report import Report
from orbsite.operations.statistics.stats import stats
from orbsite.storage.clock import utc_now
from orbsite.storage.file.document import require_directory
from orbsite.storage.records.domain import Domain
from orbsite.stores import open_file_store, open_store


class Command(OrbCommand):
    """Count what a store holds."""

    help = "Count what the configured store holds, or, with --data-dir, the files there."

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:  # noqa: ARG002
        """Count."""
        base = options["data_dir"]
        if base is not None:
            require_directory(base)
        stores = [open_store(domain) if base is None else open_file_store(domain, base) for domain in domains]
        return stats(stores, now=utc_now)
