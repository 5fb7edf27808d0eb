"""What every command of ours does alike: options, output, exit codes."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, SystemCheckError
from django.db import DatabaseError

from orbsite import conf
from orbsite.management.meter import Meter
from orbsite.management.table import as_text
from orbsite.operations.report import Report, failure_as_json
from orbsite.storage.domain import Domain, registered
from orbsite.storage.errors import OrbError

COULD_NOT_RUN = 2
INTERRUPTED = 130


class OrbCommand(BaseCommand):
    """A command that calls one operation and prints its report.

    Exit code 0: all is well; 1: records were rejected or differ; 2: it could not run; 130: interrupted.
    """

    reads_files = True
    unit = "records"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options that every command has."""
        names = [domain.name for domain in registered()]
        parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print the report")
        parser.add_argument(
            "--only", action="append", choices=names, metavar="NAME", help=f"one of: {', '.join(names)}"
        )
        if self.reads_files:
            parser.add_argument("--data-dir", type=Path, help="the data directory (default: ORB_DATA_DIR)")

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run, and turn what a person can mend into a message and exit code 2."""
        try:
            return super().execute(*args, **options)
        except (OrbError, DatabaseError, ImproperlyConfigured, SystemCheckError) as problem:
            if options.get("format") == "json":
                self._print_failure(problem)
            raise CommandError(str(problem), returncode=COULD_NOT_RUN) from problem
        except KeyboardInterrupt as problem:
            told = str(problem) or "interrupted; what was written so far is kept, run it again"
            stopped = CommandError(told, returncode=INTERRUPTED)
            if options.get("format") == "json":
                self._print_failure(stopped)
            raise stopped from problem

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        """Run the operation, print its report, and end with its exit code."""
        with Meter(sys.stderr, self.unit) as progress:
            report = self.operate(registered(options["only"]), progress, **options)
        if options["format"] == "json":
            self.stdout.write(json.dumps(report.as_json(), indent=2))
        else:
            self.stdout.write(as_text(report, color=self.style))
        if report.exit_code:
            sys.exit(report.exit_code)

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        """Call the operation; each command has its own."""
        raise NotImplementedError

    def base(self, options: dict[str, Any]) -> Path:
        """Return the data directory that the options name."""
        return options["data_dir"] or conf.data_directory()

    def _print_failure(self, problem: Exception) -> None:
        self.stdout.write(json.dumps(failure_as_json(str(problem)), indent=2))
