#!/usr/bin/env python3
"""Run a management command of the project."""

from __future__ import annotations

import json
import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import DatabaseError

from orbsite.management import tracebacks
from orbsite.management.base import told
from orbsite.management.streams import OutputLost, guarded_streams
from orbsite.operations.report import failure_as_json
from orbsite.storage.errors import OrbError


def main() -> None:
    """Run the command in the arguments. Errors that a user can resolve print one line and exit with code 2."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orbsite.settings")
    tracebacks.install()
    with guarded_streams():
        try:
            execute_from_command_line(sys.argv)
        except ImproperlyConfigured as problem:
            sys.exit(_refuse(f"The settings are invalid: {problem}"))
        except KeyboardInterrupt:
            sys.exit(130)
        except OutputLost:
            raise
        except (DatabaseError, OrbError, OSError) as problem:
            if "--traceback" in sys.argv:
                raise
            sys.exit(_refuse(told(problem)))


def _refuse(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    if "--format=json" in sys.argv or ["--format", "json"] in [sys.argv[at : at + 2] for at in range(len(sys.argv))]:
        sys.stdout.write(json.dumps(failure_as_json(message), indent=2) + "\n")
    return 2


if __name__ == "__main__":
    main()
