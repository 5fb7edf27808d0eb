"""manage.py validate_orb_files: check every record of the files."""

from __future__ import annotations

from orbsite.management.operation_command import OperationCommand
from orbsite.operations.jobs.catalog import Validate


class Command(OperationCommand):
    """Check every record of the files."""

    help = "Check every record of the files, and list each problem with its path; nothing is written."
    operation = Validate
