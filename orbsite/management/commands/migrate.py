"""manage.py migrate: Django's own, which alone creates the file of an SQLite database."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections

from orbsite.management.base import COULD_NOT_RUN
from orbsite.storage.filesystem.file_checks import explained_by_system


class Command(migrate.Command):
    """Update the tables, in a new file where there is none."""

    def execute(self, *args: Any, **options: Any) -> Any:
        """Create the file where something is to be written, before the system checks connect; then migrate."""
        create = getattr(connections[options["database"]], "create_file", None)
        if create is not None and not (options["plan"] or options["check_unapplied"]):
            try:
                create()
            except OSError as problem:
                told = explained_by_system(problem, "made")
                raise CommandError(f"the database {told}", returncode=COULD_NOT_RUN) from problem
        return super().execute(*args, **options)
