"""manage.py export_orb_user: hand out everything of a user."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from typing_extensions import override

from orbsite.management.base import OrbCommand, a_path
from orbsite.management.progress_bar import Meter
from orbsite.operations.files.user_archive import write_archive
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import Domain
from orbsite.stores import open_store


class Command(OrbCommand):
    """Write an archive with all data of a user."""

    help = (
        "Write a ZIP archive with all records of a user: JSON files in the guide's layout, a page for a browser, and a "
        "manifest with the SHA-256 of each file. The archive is not sealed; it is private to this account."
    )
    reads_files = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the user and the path of the archive."""
        super().add_arguments(parser)
        parser.add_argument("--user", required=True, metavar="ID", help="the whole id, as the records spell it")
        parser.add_argument("--to", type=a_path, required=True, metavar="FILE", help="the new archive, such as ana.zip")

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        stores = [open_store(domain) for domain in domains]
        return write_archive(stores, options["user"], options["to"], now=utc_now, progress=progress)
