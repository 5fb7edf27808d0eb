"""manage.py erase_orb_user: erase a user for good."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from typing_extensions import override

from orbsite.management.operation_command import OperationCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.jobs.catalog import Erase
from orbsite.operations.report import Report
from orbsite.storage.records.domain import Domain
from orbsite.stores import open_store


class Command(OperationCommand):
    """Erase a user in every store that is present."""

    help = (
        "Erase a user in every store that is present, and list what remains elsewhere and until when; without --apply, "
        "only count the records. An erasure cannot be undone: export_orb_user keeps a copy."
    )
    operation = Erase

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the user, and --apply."""
        super().add_arguments(parser)
        parser.add_argument("--apply", action="store_true", help="erase the user")

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        if options["apply"]:
            return super().operate(domains, progress, **options)
        report = Report(columns=("to erase",))
        for domain in domains:
            section = report.section_of(domain)
            store = open_store(domain)
            for kind in domain.kinds:
                section.count(kind.plural, "to erase", len(store.find(kind, {"user_id": options["user"]})))
        return report
