"""manage.py orb_key_status: tell which key seals how much, and where."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from orbsite.conf import app_settings
from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.files.sealing import key_status
from orbsite.operations.report import Report
from orbsite.storage.records.domain import Domain


class Command(OrbCommand):
    """Tell which key seals how much, and where."""

    help = (
        "Count the files and bytes that each key seals, and list the files that are not sealed with the first key. "
        "Nothing is written, and no content is opened."
    )
    unit = "files"

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        return key_status(domains, self.base(options), app_settings.backup_directory())
