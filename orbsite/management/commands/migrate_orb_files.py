"""manage.py migrate_orb_files: move the records of files into SQL."""

from __future__ import annotations

from orbsite.management.operation_command import OperationCommand
from orbsite.operations.jobs.catalog import Migrate


class Command(OperationCommand):
    """Move the records of files into SQL, and account for every one."""

    help = "Move the records of files into SQL: each one is new, unchanged, replaced, kept or rejected."
    operation = Migrate
