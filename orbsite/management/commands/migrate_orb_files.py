"""manage.py migrate_orb_files: move the records of files into SQL."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from typing_extensions import override

from orbsite.conf import app_settings
from orbsite.management.base import LONGEST, a_path
from orbsite.management.operation_command import OperationCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.bulk_migration import begin, preview, queue
from orbsite.operations.bulk_migration.discovery import Found, resolved
from orbsite.operations.bulk_migration.status import DIRECTORIES, status
from orbsite.operations.bulk_migration.work import work
from orbsite.operations.jobs.catalog import Migrate
from orbsite.operations.report import Report
from orbsite.operations.workers.workers import STALE_AFTER
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import Domain

_OF_MANY = {"workers": "--workers", "retry_failed": "--retry-failed", "again": "--again"}
"""The options that need --each."""


class Command(OperationCommand):
    """Move the records of files into SQL, and account for every one."""

    help = "Move the records of files into SQL: each one is new, unchanged, replaced, kept or rejected."
    operation = Migrate

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options of a migration of many data directories."""
        super().add_arguments(parser)
        many = parser.add_argument_group("many data directories")
        many.add_argument(
            "--each",
            type=a_path,
            metavar="DIR",
            help="migrate each data directory below DIR, at any depth. The same command on other hosts, which need to "
            "see DIR at the same path, shares the work; called again, it continues, and adds new directories",
        )
        many.add_argument(
            "--workers",
            type=int,
            metavar="N",
            help="let N jobs of the task queue do the work, and do not wait for them; 0 stops them",
        )
        many.add_argument("--retry-failed", action="store_true", help="try the directories again that have failed")
        many.add_argument(
            "--again", action="store_true", help="migrate all directories again, once all are done, to catch up"
        )
        many.add_argument(
            "--stale-after",
            type=float,
            default=STALE_AFTER.total_seconds(),
            metavar="SECONDS",
            help="take over the directory of a worker after this time without a heartbeat (default: %(default)g)",
        )

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        if options["each"] is None:
            return self._of_one(domains, progress, options)
        _refuse_beside_each(options)
        asked = begin.Options(
            only=None if options["only"] is None else tuple(sorted(set(options["only"]))),
            incremental=options["incremental"],
            only_rejected=options["retry_rejected"],
        )
        if options["dry_run"]:
            found = begin.under(resolved(options["each"]))
            return _with(found, preview.look(found.directories, asked, now=utc_now, progress=progress))
        bulk, found = begin.begin(
            options["each"],
            asked,
            now=utc_now,
            backup_to=None if options["no_backup"] else app_settings.backup_directory(),
            again=options["again"],
            retry_failed=options["retry_failed"],
            progress=progress,
        )
        if options["workers"] is not None:
            queue.set_workers(bulk, options["workers"], now=utc_now)
            return _with(found, status(bulk))
        stale_after = timedelta(seconds=options["stale_after"])
        return _with(found, work(bulk, now=utc_now, stale_after=stale_after, waits=True, progress=progress))

    def handle(self, *args: Any, **options: Any) -> None:
        """Count directories instead of records where there are many of them."""
        self.unit = "records" if options["each"] is None and options["bulk"] is None else "directories"
        super().handle(*args, **options)

    def _of_one(self, domains: list[Domain], progress: Meter, options: dict[str, Any]) -> Report:
        given = [option for name, option in _OF_MANY.items() if options[name]]
        if given:
            raise OrbError(f"{', '.join(given)} is about many data directories; give --each DIR too")
        return super().operate(domains, progress, **options)


def _refuse_beside_each(options: dict[str, Any]) -> None:
    """Raise OrbError for options that --each does not take."""
    of_one = {"data_dir": "--data-dir", "resume": "--resume", "bulk": "--bulk"}
    given = [option for name, option in of_one.items() if options[name]]
    if given:
        raise OrbError(f"--each does not take {', '.join(given)}; it resumes what was interrupted in any case")
    if not 0 < options["stale_after"] < LONGEST:
        raise OrbError("--stale-after needs a number of seconds above 0")


def _with(found: Found, report: Report) -> Report:
    """Add what was left out to a report. A directory that could not be listed makes it unreadable."""
    report.domains[DIRECTORIES].findings[:0] = found.findings
    report.unreadable |= found.unreadable
    return report
