#!/usr/bin/env python3
"""Run a management command of the project."""

from __future__ import annotations

import os
import sys

from orbsite.management.program import run_command


def main() -> None:
    """Run the command in the arguments, with the settings of the project unless others are named."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orbsite.settings")
    run_command(sys.argv)


if __name__ == "__main__":
    main()
