"""More of what can be asked of a worker: what mends, clears away, takes over and erases."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from orbsite.conf import app_settings
from orbsite.operations.backup.uploads import path_of
from orbsite.operations.files import cleanup as cleaning
from orbsite.operations.files.check import repair
from orbsite.operations.jobs.parameters import Now, Request
from orbsite.operations.migration.migrate import import_database
from orbsite.operations.progress import Progress
from orbsite.operations.records.erase import erase
from orbsite.operations.records.sanitize import sanitize
from orbsite.operations.report import Report
from orbsite.operations.search_index import index
from orbsite.stores import open_store

_GRACE_DAYS = cleaning.GRACE / timedelta(days=1)


class Repair(Request, frozen=True, kw_only=True):
    """Mends what a check of the files finds, and keeps whatever it replaces."""

    name = "repair"
    admin_when = ("apply",)
    restore_previous: bool = False
    apply: bool = False

    def run(self, now: Now, progress: Progress) -> Report:  # noqa: ARG002 -- it takes neither
        """Repair."""
        return repair(self.domains, app_settings.data_directory(), apply=self.apply, restore=self.restore_previous)


class Cleanup(Request, frozen=True, kw_only=True):
    """Removes what is left over beside the files and among the backups."""

    name = "cleanup"
    admin_when = ("apply",)
    grace_days: float = _GRACE_DAYS
    backups: bool = True
    remove: tuple[str, ...] = ()
    apply: bool = False

    def run(self, now: Now, progress: Progress) -> Report:
        """Clean up."""
        return cleaning.cleanup(
            self.domains,
            app_settings.data_directory(),
            times=cleaning.Times.of(
                now(),
                self.grace_days,
                app_settings.undo_days(),
                app_settings.keep_backups_days(),
                app_settings.keep_exports_days(),
            ),
            apply=self.apply,
            unknown=self.remove,
            backups=app_settings.backup_directory() if self.backups else None,
            progress=progress,
        )


class Sanitize(Request, frozen=True, kw_only=True):
    """Mends rows in SQL that break the rules of their records, and lists each change."""

    name = "sanitize"
    admin_when = ("apply",)
    kind: str | None = None
    keys: tuple[str, ...] | None = None
    apply: bool = False

    def run(self, now: Now, progress: Progress) -> Report:
        """Sanitize."""
        return sanitize(self.domains, now=now, kind=self.kind, keys=self.keys, apply=self.apply, progress=progress)


class Import(Request, frozen=True, kw_only=True):
    """Moves the records of a database of the earlier system, which was uploaded, into SQL."""

    name = "import"
    scope = "admin"
    keeps_files = True
    upload: str
    dry_run: bool = False
    backup: bool = True

    def run(self, now: Now, progress: Progress) -> Report:
        """Import."""
        return import_database(
            self.domains,
            str(path_of(app_settings.backup_directory(), self.upload)),
            now=now,
            backup_to=app_settings.backup_directory() if self.backup else None,
            dry_run=self.dry_run,
            progress=progress,
        )


class Erase(Request, frozen=True, kw_only=True):
    """Erases one user in every store that is present, and says what remains elsewhere."""

    name = "erase"
    scope = "admin"
    takes_one_user = True
    user: str = msgspec.field()

    def run(self, now: Now, progress: Progress) -> Report:  # noqa: ARG002 -- it cannot tell how far it is
        """Erase."""
        stores = [open_store(domain) for domain in self.domains]
        return erase(
            stores, self.user, base=app_settings.data_directory(), backups=app_settings.backup_directory(), now=now
        )


class Index(Request, frozen=True, kw_only=True):
    """Brings the words by which records are searched into step with the records in SQL."""

    name = "index"
    anew: bool = False

    def run(self, now: Now, progress: Progress) -> Report:
        """Index."""
        return index(self.domains, now=now, anew=self.anew, progress=progress)
