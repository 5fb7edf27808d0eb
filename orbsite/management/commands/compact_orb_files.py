"""manage.py compact_orb_files: make the files, or any store, small."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from orbsite.management.base import OrbCommand
from orbsite.management.operation_command import add_options
from orbsite.management.progress_bar import Meter
from orbsite.management.retention_options import add_rules, policy_of, refuse_without_rules
from orbsite.operations.files.compact import compact
from orbsite.operations.jobs.catalog import Compact
from orbsite.operations.ledger.tombstones import undo
from orbsite.operations.report import Report
from orbsite.operations.retention.apply import retain
from orbsite.storage.base.store import Store
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.storage.file.document import require_directory
from orbsite.storage.records.domain import Domain
from orbsite.storage.retention.policy import retained
from orbsite.stores import open_file_store, open_sql_store, open_store


class Command(OrbCommand):
    """Remove dead items from the files, or, with rules, apply a retention policy to a store."""

    help = (
        "Remove dead items from the files, such as items that break the rules, and fold the journals; "
        "the documents then have the layout that other programs read. Removed items are kept under .orb/tombstones. "
        "With rules, remove records from the configured store, or another, that no rule keeps; "
        "they are kept as tombstones, and --undo brings them back."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the retention rules, the store that they apply to, and the guards."""
        super().add_arguments(parser)
        add_options(parser, Compact, "dry_run", "force", "trust_clock")
        add_rules(parser)
        parser.add_argument(
            "--from",
            dest="source",
            choices=("store", "sql", "file"),
            help="the store to apply the rules to (default: the configured store, or the files of --data-dir)",
        )
        parser.add_argument(
            "--explain", metavar="ID", help="explain why this record would be kept or removed; write nothing"
        )
        parser.add_argument("--undo", metavar="RUN", help="restore the records that a run has removed")
        parser.add_argument(
            "--time-budget", type=float, metavar="SECONDS", help="start no further batch after this time"
        )
        parser.add_argument(
            "--pause", type=float, metavar="SECONDS", help="wait this long between batches, so that others can write"
        )

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        """Compact, retain, or undo."""
        if options["undo"] is not None:
            if options["dry_run"]:
                raise OrbError("--undo has no --dry-run; nothing was brought back")
            return undo(options["undo"], self._stores(domains, options), now=utc_now, progress=progress)
        policy = policy_of(options)
        if policy is not None:
            kept = [domain for domain in domains if options["only"] or retained(domain)]
            return retain(
                self._stores(kept, options),
                policy,
                now=utc_now,
                dry_run=options["dry_run"],
                force=options["force"],
                trust_clock=options["trust_clock"],
                budget=options["time_budget"],
                pause=options["pause"] or 0.0,
                explain=options["explain"],
                actor="compact_orb_files",
                progress=progress,
            )
        refuse_without_rules(options, ("source", "explain", "time_budget", "pause", "trust_clock"))
        return compact(
            domains,
            self.base(options),
            now=utc_now,
            dry_run=options["dry_run"],
            force=options["force"],
            progress=progress,
        )

    def _stores(self, domains: list[Domain], options: dict[str, Any]) -> list[Store]:
        source, base = options["source"] or ("store" if options["data_dir"] is None else "file"), options["data_dir"]
        if base is not None and source == "file":
            require_directory(base)
            return [open_file_store(domain, base) for domain in domains]
        opened = {"store": open_store, "sql": open_sql_store, "file": open_file_store}[source]
        return [opened(domain) for domain in domains]
