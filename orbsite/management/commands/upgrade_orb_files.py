"""manage.py upgrade_orb_files: write the files in another schema version."""

from __future__ import annotations

from orbsite.management.operation_command import OperationCommand
from orbsite.operations.jobs.catalog import UpgradeFiles


class Command(OperationCommand):
    """Write the files in another schema version."""

    help = (
        "Write the files in the newest schema version, or with --schema-version in an older one; what that cannot hold "
        "is listed, and given up only with --force. The files that change are backed up first."
    )
    operation = UpgradeFiles
