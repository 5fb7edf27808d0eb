"""manage.py seal_orb_data: seal the files with the configured keys, or open them again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from typing_extensions import override

from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.files.sealing import seal
from orbsite.operations.report import Report
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Seal the files with the configured keys, or open them again."""

    help = (
        "Seal the files under the data directory with the first configured key; without --apply, only report what "
        "would be done. The command can be interrupted and repeated."
    )
    unit = "files"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add what is written."""
        super().add_arguments(parser)
        parser.add_argument("--apply", action="store_true", help="write the files")
        parser.add_argument(
            "--unseal", action="store_true", help="open the sealed files instead, and store them unsealed"
        )

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        return seal(domains, self.base(options), apply=options["apply"], unseal=options["unseal"], progress=progress)
