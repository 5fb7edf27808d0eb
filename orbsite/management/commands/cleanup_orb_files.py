"""manage.py cleanup_orb_files: remove orphaned files."""

from __future__ import annotations

from orbsite.management.operation_command import OperationCommand
from orbsite.operations.jobs.catalog import Cleanup


class Command(OperationCommand):
    """Remove orphaned files."""

    help = (
        "Report orphaned files: temporary files of dead processes, set-aside copies, expired tombstones and backups; "
        "with --apply, remove them. Files of other layers are never touched, unknown ones only by --remove."
    )
    operation = Cleanup
    unit = "files"
