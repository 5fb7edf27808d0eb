"""manage.py repair_orb_files: repair what check_orb_files finds."""

from __future__ import annotations

from orbsite.management.operation_command import OperationCommand
from orbsite.operations.jobs.catalog import Repair


class Command(OperationCommand):
    """Repair damaged files."""

    help = (
        "Repair what check_orb_files finds; without --apply, only report what would be done. "
        "A copy is kept of everything that is replaced."
    )
    operation = Repair
    unit = "files"
