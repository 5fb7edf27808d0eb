"""The base classes of all commands: shared options, output and exit codes."""

from __future__ import annotations

import contextlib
import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Any

from django.core.checks import Tags
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, SystemCheckError
from django.db import DatabaseError

from orbsite.conf import app_settings
from orbsite.management.progress_bar import Meter
from orbsite.management.streams import OutputLost, exit_code_of, reason_of
from orbsite.management.text_report import as_text
from orbsite.operations.report import Report, failure_as_json
from orbsite.storage.database_errors import explained
from orbsite.storage.errors import OrbError
from orbsite.storage.filesystem.file_checks import explained_by_system
from orbsite.storage.records.domain import Domain, registered

COULD_NOT_RUN = 2
INTERRUPTED = 130


class GuardedCommand(BaseCommand):
    """A command that reports errors in one line with the cause, the place and the next step, and by an exit code.

    Exit code 2: the command could not run, or its output could not be written; 130: interrupted; 141: the reader of its
    output has ended.
    """

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run the command, and turn errors that a user can resolve into a message and exit code 2."""
        try:
            return super().execute(*args, **options)
        except OutputLost:
            raise
        except (OrbError, DatabaseError, ImproperlyConfigured, SystemCheckError, OSError) as problem:
            failed = CommandError(told(problem), returncode=COULD_NOT_RUN)
            self._print_failure(failed, options)
            raise failed from problem
        except KeyboardInterrupt as problem:
            message = str(problem) or "interrupted; data that was written so far is kept; run the command again"
            stopped = CommandError(message, returncode=INTERRUPTED)
            self._print_failure(stopped, options)
            raise stopped from problem

    def tell(self, text: str, lost: str = "the command has succeeded, but its report could not be written") -> None:
        """Write to standard output and flush it. If that fails, raises CommandError with the text `lost`."""
        try:
            self.stdout.write(text)
            self.stdout.flush()
        except (OSError, ValueError) as problem:
            raise CommandError(f"{lost}: {reason_of(problem)}", returncode=exit_code_of(problem)) from problem

    def _print_failure(self, problem: Exception, options: dict[str, Any]) -> None:
        if options.get("format") == "json":
            with contextlib.suppress(OSError, ValueError):  # standard error and the exit code say it too
                self.stdout.write(json.dumps(failure_as_json(str(problem)), indent=2))
                self.stdout.flush()


class OrbCommand(GuardedCommand):
    """A command that calls one operation and prints its report.

    Exit code 0: no problems; 1: records were rejected or differ; the others are those of GuardedCommand.
    """

    requires_system_checks = ("orb", Tags.models)
    """The checks of what commands use. `check`, the start of a server and `migrate` run all others too."""
    reads_files = True
    unit = "records"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options that all commands share."""
        names = [domain.name for domain in registered()]
        parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print the report")
        parser.add_argument(
            "--only", action="append", choices=names, metavar="NAME", help=f"one of: {', '.join(names)}"
        )
        if self.reads_files:
            parser.add_argument("--data-dir", type=a_path, help="the data directory (default: ORB_DATA_DIR)")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        """Run the operation, print its report, and end with its exit code."""
        with Meter(sys.stderr, self.unit) as progress:
            report = self.operate(registered(options["only"]), progress, **options)
        as_json = options["format"] == "json"
        text = json.dumps(report.as_json(), indent=2) if as_json else as_text(report, color=self.style)
        if report.exit_code:
            lost = f"the command has found problems (exit code {report.exit_code}), and its report could not be written"
            self.tell(text, lost)
            sys.exit(report.exit_code)
        self.tell(text)

    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        """Call the operation, and return its report. Each command overrides this."""
        raise NotImplementedError

    def base(self, options: dict[str, Any]) -> Path:
        """Return the data directory of `--data-dir`, or the configured one."""
        return options["data_dir"] or app_settings.data_directory()


LONGEST = 1e9
"""An argument in seconds must be below this number."""


def a_path(text: str) -> Path:
    """Return the path in an argument, with `~` expanded even if the shell has not done so. Raises ArgumentTypeError."""
    try:
        return Path(text).expanduser()
    except RuntimeError as problem:
        raise ArgumentTypeError(f"the home directory in {text!r} is unknown; give an absolute path") from problem


def told(problem: Exception) -> str:
    """Return the message of an error that a user can resolve."""
    if isinstance(problem, DatabaseError):
        return explained(problem)
    return explained_by_system(problem) if isinstance(problem, OSError) else str(problem)
