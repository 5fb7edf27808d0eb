"""manage.py upgrade_orb_rows: upgrade rows of an older schema version."""

from __future__ import annotations

from orbsite.management.operation_command import OperationCommand
from orbsite.operations.jobs.catalog import UpgradeRows


class Command(OperationCommand):
    """Upgrade rows of an older schema version."""

    help = (
        "Upgrade the rows in SQL whose content is of an older schema version. The run is in the ledger, and "
        "rollback_orb_migration takes it back; a run that was interrupted is resumed by the next one."
    )
    operation = UpgradeRows
    reads_files = False
