"""manage.py verify_orb_files: compare files with SQL."""

from __future__ import annotations

from orbsite.management.operation_command import OperationCommand
from orbsite.operations.jobs.catalog import Verify


class Command(OperationCommand):
    """Compare the files with SQL."""

    help = "Compare the files with SQL, record by record, and list every difference; only the ledger is written to."
    operation = Verify
