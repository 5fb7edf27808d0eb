#!/usr/bin/env python3
"""Run a command of the project."""

from __future__ import annotations

import json
import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from orbsite.operations.report import failure_as_json


def main() -> None:
    """Run the command that the arguments name; settings that do not add up end it with exit code 2."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orbsite.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as problem:
        sys.exit(_refuse(problem))
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse(problem: ImproperlyConfigured) -> int:
    message = f"The settings do not add up: {problem}"
    sys.stderr.write(f"{message}\n")
    if "--format=json" in sys.argv or ["--format", "json"] in [sys.argv[at : at + 2] for at in range(len(sys.argv))]:
        sys.stdout.write(json.dumps(failure_as_json(message), indent=2) + "\n")
    return 2


if __name__ == "__main__":
    main()
