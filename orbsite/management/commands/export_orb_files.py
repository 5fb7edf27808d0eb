"""manage.py export_orb_files: write files from a store."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from orbsite.management.base import OrbCommand, a_path
from orbsite.management.progress_bar import Meter
from orbsite.operations.files.export import export
from orbsite.operations.report import Report
from orbsite.storage.records.domain import Domain
from orbsite.stores import open_file_store, open_sql_store, open_store


class Command(OrbCommand):
    """Write files in the guide's layout from a store."""

    help = (
        "Write what a store holds as files in the guide's layout; from the configured store unless --from says other."
    )
    reads_files = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --to, --from, --user and --overwrite."""
        super().add_arguments(parser)
        parser.add_argument(
            "--to", type=a_path, required=True, metavar="DIR", help="where to write; made where it is missing"
        )
        parser.add_argument(
            "--from", dest="source", choices=("store", "sql", "file"), default="store", help="what to read"
        )
        parser.add_argument("--user", metavar="ID", help="write one person's data alone")
        parser.add_argument("--overwrite", action="store_true", help="replace files that are there; they stay as .prev")

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        """Export."""
        opened = {"store": open_store, "sql": open_sql_store, "file": open_file_store}[options["source"]]
        stores = [opened(domain) for domain in domains]
        return export(stores, options["to"], user=options["user"], overwrite=options["overwrite"], progress=progress)
