"""manage.py index_orb_search: bring the search index up to date with the records in SQL."""

from __future__ import annotations

from orbsite.management.operation_command import OperationCommand
from orbsite.operations.jobs.catalog import Index


class Command(OperationCommand):
    """Bring the search index up to date."""

    help = (
        "Index the words of every record in SQL that is new or changed, and remove those of removed records. "
        "Maintenance does a part of it each time; this command does all of it now."
    )
    operation = Index
    reads_files = False
