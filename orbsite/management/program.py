"""Runs a management command as a program: for `manage.py` in a checkout, and for `orb` of an installed package."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import DatabaseError

from orbsite.management import tracebacks
from orbsite.management.base import COULD_NOT_RUN, INTERRUPTED, told
from orbsite.management.streams import OutputLost, guarded_streams
from orbsite.operations.report import failure_as_json
from orbsite.storage.errors import OrbError


def run_command(arguments: Sequence[str]) -> None:
    """Run the command in the arguments, of which the first names the program.

    Errors that a user can resolve print one line and exit with code 2.
    """
    tracebacks.install()
    with guarded_streams():
        try:
            execute_from_command_line(list(arguments))
        except ImproperlyConfigured as problem:
            sys.exit(_refuse(f"The settings are invalid: {problem}", arguments))
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except OutputLost:
            raise
        except (DatabaseError, OrbError, OSError) as problem:
            if "--traceback" in arguments:
                raise
            sys.exit(_refuse(told(problem), arguments))


def _refuse(message: str, arguments: Sequence[str]) -> int:
    sys.stderr.write(f"{message}\n")
    pairs = [list(arguments[at : at + 2]) for at in range(len(arguments))]
    if "--format=json" in arguments or ["--format", "json"] in pairs:
        sys.stdout.write(json.dumps(failure_as_json(message), indent=2) + "\n")
    return COULD_NOT_RUN
