"""What can be asked of a worker: each operation by name, with the arguments that it takes, strictly read from JSON.

Paths are none of them: a job reads and writes where the settings say.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from orbsite.conf import app_settings
from orbsite.models.retention import RetentionPolicy
from orbsite.operations.backup import create as backup
from orbsite.operations.backup.uploads import path_of
from orbsite.operations.files import cleanup as cleaning
from orbsite.operations.files.check import check, repair
from orbsite.operations.files.compact import compact
from orbsite.operations.files.export import export
from orbsite.operations.files.validate import validate
from orbsite.operations.jobs.parameters import Now, Request, RowNumber
from orbsite.operations.migration.migrate import import_database, migrate
from orbsite.operations.migration.rollback import rollback
from orbsite.operations.migration.verify import verify
from orbsite.operations.progress import Progress
from orbsite.operations.records.erase import erase
from orbsite.operations.records.sanitize import sanitize
from orbsite.operations.report import Report
from orbsite.operations.retention.apply import retain
from orbsite.operations.retention.one_user import trim
from orbsite.operations.scheduling.maintenance import maintain
from orbsite.operations.search_index import index
from orbsite.operations.statistics.daily import note_growth
from orbsite.storage.errors import OrbError
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import open_store, store_named

_GRACE_DAYS = cleaning.GRACE / timedelta(days=1)


class Migrate(Request, frozen=True, kw_only=True):
    """Moves the files' records into SQL."""

    name = "migrate"
    scope = "admin"
    keeps_files = True
    dry_run: bool = False
    incremental: bool = False
    only_rejected: bool = False
    resume: bool = False
    backup: bool = True

    def run(self, now: Now, progress: Progress) -> Report:
        """Migrate."""
        return migrate(
            self.domains,
            app_settings.data_directory(),
            now=now,
            backup_to=app_settings.backup_directory() if self.backup else None,
            dry_run=self.dry_run,
            incremental=self.incremental,
            only_rejected=self.only_rejected,
            resume=self.resume,
            progress=progress,
        )


class Verify(Request, frozen=True, kw_only=True):
    """Compares the files with SQL."""

    name = "verify"

    def run(self, now: Now, progress: Progress) -> Report:
        """Verify."""
        return verify(self.domains, app_settings.data_directory(), now=now, progress=progress)


class Rollback(Request, frozen=True, kw_only=True):
    """Undoes one run."""

    name = "rollback"
    scope = "admin"
    run_id: RowNumber = msgspec.field(name="run")
    dry_run: bool = False
    force: bool = False

    def run(self, now: Now, progress: Progress) -> Report:
        """Roll back."""
        return rollback(self.run_id, self.domains, now=now, dry_run=self.dry_run, force=self.force, progress=progress)


class Validate(Request, frozen=True, kw_only=True):
    """Checks every record of the files."""

    name = "validate"

    def run(self, now: Now, progress: Progress) -> Report:  # noqa: ARG002 -- it depends on no clock
        """Validate."""
        return validate(self.domains, app_settings.data_directory(), progress=progress)


class Check(Request, frozen=True, kw_only=True):
    """Looks for damage in the files."""

    name = "check"

    def run(self, now: Now, progress: Progress) -> Report:  # noqa: ARG002 -- it takes neither
        """Check."""
        return check(self.domains, app_settings.data_directory())


class Compact(Request, frozen=True, kw_only=True):
    """Makes the files small; or, with a policy and a user, removes of that user what the policy does not keep."""

    name = "compact"
    admin_when = ("force",)
    takes_one_user = True
    policy: RowNumber | None = None
    user: str | None = None
    dry_run: bool = False
    force: bool = False
    trust_clock: bool = False

    def __post_init__(self) -> None:
        if (self.policy is None) != (self.user is None):
            raise ValueError("a policy and a user go together")

    def run(self, now: Now, progress: Progress) -> Report:
        """Compact."""
        how: dict[str, Any] = {"now": now, "dry_run": self.dry_run, "force": self.force, "progress": progress}
        if self.policy is None or self.user is None:
            return compact(self.domains, app_settings.data_directory(), **how)
        policy = _policy(self.policy)
        store = store_named(policy.store, policy.domain)
        if not isinstance(store, SqlStore):
            raise OrbError("this policy is about files, and one user is compacted in SQL alone; choose another policy")
        return trim(store, policy.policy, self.user, trust_clock=self.trust_clock, **how)


class Export(Request, frozen=True, kw_only=True):
    """Writes files from the configured store, in a new directory under ORB_BACKUP_DIR."""

    name = "export"
    takes_one_user = True
    keeps_files = True
    user: str | None = None

    def run(self, now: Now, progress: Progress) -> Report:
        """Export."""
        to = app_settings.backup_directory() / f"export-{now():%Y%m%dT%H%M%S%f}Z"
        report = export([open_store(domain) for domain in self.domains], to, user=self.user, progress=progress)
        report.directory = to.name
        return report


class Backup(Request, frozen=True, kw_only=True):
    """Keeps files and database in a new directory under ORB_BACKUP_DIR."""

    name = "backup"
    keeps_files = True
    label: str = ""

    def run(self, now: Now, progress: Progress) -> Report:  # noqa: ARG002 -- it cannot tell how far it is
        """Back up."""
        base = app_settings.data_directory()
        return backup.backup(
            self.domains, base, app_settings.backup_directory(), now=now, files=base.is_dir(), label=self.label
        )


class Preview(Request, frozen=True, kw_only=True):
    """Tells what a retention policy would remove, and removes nothing."""

    name = "preview"
    policy: RowNumber

    def run(self, now: Now, progress: Progress) -> Report:
        """Retain, without removing anything."""
        policy = _policy(self.policy)
        return retain(
            [store_named(policy.store, policy.domain)], policy.policy, now=now, dry_run=True, progress=progress
        )


class Maintain(Request, frozen=True, kw_only=True):
    """Runs the retention policies that are due."""

    name = "maintain"
    admin_when = ("trust_clock",)
    trust_clock: bool = False

    def run(self, now: Now, progress: Progress) -> Report:
        """Maintain."""
        return maintain(now=now, only=self.only, trust_clock=self.trust_clock, progress=progress)


class Measure(Request, frozen=True, kw_only=True):
    """Counts what both stores hold, for the dashboard."""

    name = "measure"

    def run(self, now: Now, progress: Progress) -> Report:
        """Count everything, whatever it takes."""
        report = Report()
        report.section("growth", ()).facts["noted"] = note_growth(now, self.domains, progress)
        return report


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


OPERATIONS: dict[str, type[Request]] = {
    one.name: one
    for one in (
        Migrate,
        Verify,
        Rollback,
        Validate,
        Check,
        Compact,
        Export,
        Backup,
        Preview,
        Maintain,
        Measure,
        Repair,
        Cleanup,
        Sanitize,
        Import,
        Erase,
        Index,
    )
}
"""What a worker can be asked for."""


def _policy(number: int) -> RetentionPolicy:
    policy = RetentionPolicy.objects.filter(pk=number).first()
    if policy is None:
        raise OrbError(f"there is no policy {number}; the admin lists all policies")
    return policy


def read(operation: str, arguments: Any) -> Request:
    """Return the request for an operation, by name, with arguments as parsed JSON. Raises OrbError."""
    kind = OPERATIONS.get(operation)
    if kind is None:
        raise OrbError(f"there is no operation {operation!r}; there are {', '.join(OPERATIONS)}")
    try:
        request = msgspec.convert(arguments, kind)
    except msgspec.ValidationError as problem:
        known = ", ".join(kind.__struct_encode_fields__)
        raise OrbError(f"the arguments of {operation} are wrong: {problem}; it takes {known}") from problem
    _ = request.domains  # which raises for unknown ones
    return request
