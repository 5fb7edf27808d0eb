"""manage.py export_orb_files: write files from a store."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from typing_extensions import override

from orbsite.management.base import OrbCommand, a_path
from orbsite.management.operation_command import add_options
from orbsite.management.progress_bar import Meter
from orbsite.operations.files.export import export
from orbsite.operations.jobs.catalog import Export
from orbsite.operations.report import Report
from orbsite.storage.records.domain import Domain
from orbsite.stores import open_file_store, open_sql_store, open_store


class Command(OrbCommand):
    """Export a store as files in the guide's layout."""

    help = "Export a store as files in the guide's layout: the configured store, unless --from names another."
    reads_files = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --to, --from, --user, --schema-version and --overwrite."""
        super().add_arguments(parser)
        parser.add_argument(
            "--to", type=a_path, required=True, metavar="DIR", help="the directory to write to; created if missing"
        )
        parser.add_argument(
            "--from",
            dest="source",
            choices=("store", "sql", "file"),
            default="store",
            help="the store to read (default: %(default)s)",
        )
        add_options(parser, Export, "user", "schema_version")
        parser.add_argument("--overwrite", action="store_true", help="replace existing files, and keep each as .prev")

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        opened = {"store": open_store, "sql": open_sql_store, "file": open_file_store}[options["source"]]
        stores = [opened(domain) for domain in domains]
        return export(
            stores,
            options["to"],
            user=options["user"],
            overwrite=options["overwrite"],
            schema_version=options["schema_version"],
            progress=progress,
        )
