"""manage.py index_orb_search: bring the search into step with the records in SQL."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.report import Report
from orbsite.operations.search_index import index
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Bring the search into step."""

    help = (
        "Read the words of every record in SQL that the search does not know as it is, and forget those of records "
        "that are gone. Maintenance does so too, a part each time; this does all of it now."
    )
    reads_files = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --anew."""
        super().add_arguments(parser)
        parser.add_argument("--anew", action="store_true", help="make all words again, though nothing has changed")

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        """Index."""
        return index(domains, now=utc_now, anew=options["anew"], progress=progress)
