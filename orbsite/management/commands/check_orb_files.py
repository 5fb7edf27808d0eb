"""manage.py check_orb_files: look for damaged files."""

from __future__ import annotations

from orbsite.management.operation_command import OperationCommand
from orbsite.operations.jobs.catalog import Check


class Command(OperationCommand):
    """Look for damaged files."""

    help = (
        "Look for damage in the files, their journals, and the files beside them; nothing is written. "
        "validate_orb_files lists the problems of single records."
    )
    operation = Check
    unit = "files"
