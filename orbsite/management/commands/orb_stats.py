"""manage.py orb_stats: count what the configured store holds."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.report import Report
from orbsite.operations.statistics.stats import stats
from orbsite.storage.clock import utc_now
from orbsite.storage.file.document import require_directory
from orbsite.storage.records.domain import Domain
from orbsite.stores import open_file_store, open_store


class Command(OrbCommand):
    """Count the records of a store."""

    help = "Count the records of the configured store, or, with --data-dir, of the files there."

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        base = options["data_dir"]
        if base is not None:
            require_directory(base)
        stores = [open_store(domain) if base is None else open_file_store(domain, base) for domain in domains]
        return stats(stores, now=utc_now)
