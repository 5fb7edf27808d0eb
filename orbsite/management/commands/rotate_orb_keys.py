"""manage.py rotate_orb_keys: seal the files with the first key that another key seals."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from typing_extensions import override

from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.files.sealing import rotate
from orbsite.operations.report import Report
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Seal the files with the first key that another key seals."""

    help = (
        "Seal with the first configured key what another key seals; without --apply, only report what would be done. "
        "The old key can be removed when orb_key_status no longer lists it."
    )
    unit = "files"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add what is written."""
        super().add_arguments(parser)
        parser.add_argument("--apply", action="store_true", help="write the files")

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        return rotate(domains, self.base(options), apply=options["apply"], progress=progress)
