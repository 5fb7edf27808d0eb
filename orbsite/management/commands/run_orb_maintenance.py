"""manage.py run_orb_maintenance: run the retention policies that are due."""

from __future__ import annotations

import json
import signal
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, close_old_connections
from typing_extensions import override

from orbsite.management.base import LONGEST, OrbCommand, told
from orbsite.management.operation_command import add_options
from orbsite.management.progress_bar import Meter
from orbsite.management.text_report import as_text
from orbsite.operations.jobs.catalog import Maintain
from orbsite.operations.monitoring.notify import notify
from orbsite.operations.report import Report
from orbsite.operations.scheduling.maintenance import maintain
from orbsite.operations.workers.workers import STALE_AFTER, a_name
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import Domain

_TICK = 0.2


class Command(OrbCommand):
    """Run due retention policies and daily work."""

    help = (
        "Run the retention policies that are due, each due moment once, on however many hosts this command runs. "
        "Once a day, record how much the stores hold, and remove expired data."
    )
    reads_files = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --once, --loop, --stale-after and --trust-clock."""
        super().add_arguments(parser)
        often = parser.add_mutually_exclusive_group()
        often.add_argument("--once", action="store_true", help="run once, which is the default")
        often.add_argument(
            "--loop",
            type=_seconds,
            metavar="SECONDS",
            help="run at this interval, until interrupted or terminated",
        )
        parser.add_argument(
            "--stale-after",
            type=_seconds,
            default=STALE_AFTER.total_seconds(),
            metavar="SECONDS",
            help="count a run as crashed after this time without a heartbeat (default: %(default)g)",
        )
        add_options(parser, Maintain, "trust_clock")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run maintenance once, or at an interval; a loop prints its results, one JSON object a line."""
        if options["loop"] is None:
            super().handle(*args, **options)
            return
        with Meter(sys.stderr, self.unit) as progress, progress.heeded():
            before = signal.signal(signal.SIGTERM, lambda *_: progress.stop())
            try:
                self._loop(progress, options)
            finally:
                signal.signal(signal.SIGTERM, before)

    def _loop(self, progress: Meter, options: dict[str, Any]) -> None:
        worker = a_name()
        while not progress.is_stopping:
            try:
                report = self._maintain(progress, worker, options)
                options["trust_clock"] = False
            except (OrbError, DatabaseError, OSError) as problem:  # what is away for a while comes back
                self.stderr.write(f"nothing was done this time: {told(problem)}")
            else:
                self._tell(report, options["format"])
            close_old_connections()
            until = time.monotonic() + options["loop"]
            while not progress.is_stopping and (left := until - time.monotonic()) > 0:
                time.sleep(min(_TICK, left))

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        return self._maintain(progress, "", options)

    def _maintain(self, progress: Meter, worker: str, options: dict[str, Any]) -> Report:
        report = maintain(
            now=utc_now,
            only=options["only"],
            worker=worker,
            stale_after=timedelta(seconds=options["stale_after"]),
            trust_clock=options["trust_clock"],
            progress=progress,
        )
        notify(utc_now)
        return report

    def _tell(self, report: Report, form: str) -> None:
        if report.domains:
            self.tell(json.dumps(report.as_json()) if form == "json" else as_text(report, color=self.style))


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < LONGEST:
        raise ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return number
