"""manage.py rollback_orb_migration: undo one run."""

from __future__ import annotations

from orbsite.management.operation_command import OperationCommand
from orbsite.operations.jobs.catalog import Rollback


class Command(OperationCommand):
    """Undo one run."""

    help = "Undo one run: remove what it created, restore what it replaced, and keep what was changed since."
    operation = Rollback
    reads_files = False
