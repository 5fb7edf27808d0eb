"""Run a management command of a project that includes the apps of orb-persistence."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hostsite.settings")
    execute_from_command_line(sys.argv)
