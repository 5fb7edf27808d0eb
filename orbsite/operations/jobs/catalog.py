"""The catalog of operations that a worker can run, by name, with their arguments, which are strictly read from JSON.

Paths are no arguments: a job reads and writes where the settings say.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, TypeAlias

import msgspec
from typing_extensions import override

from orbsite.conf import app_settings
from orbsite.models.retention import RetentionPolicy
from orbsite.operations.backup import create as backup
from orbsite.operations.backup.uploads import path_of
from orbsite.operations.bulk_migration.begin import find
from orbsite.operations.bulk_migration.preview import look_at
from orbsite.operations.bulk_migration.work import work
from orbsite.operations.files import cleanup as cleaning
from orbsite.operations.files.check import check, repair
from orbsite.operations.files.compact import compact
from orbsite.operations.files.export import export
from orbsite.operations.files.upgrade import upgrade_files
from orbsite.operations.files.validate import validate
from orbsite.operations.jobs.parameters import Place, Request, RowNumber, Storage, about
from orbsite.operations.migration.migrate import import_database, migrate
from orbsite.operations.migration.rollback import rollback
from orbsite.operations.migration.verify import verify
from orbsite.operations.monitoring.notify import notify
from orbsite.operations.records.erase import erase
from orbsite.operations.records.sanitize import sanitize
from orbsite.operations.records.upgrade import upgrade_rows
from orbsite.operations.report import Report
from orbsite.operations.retention.apply import retain
from orbsite.operations.retention.one_user import trim
from orbsite.operations.scheduling.maintenance import maintain
from orbsite.operations.search_index import index
from orbsite.operations.statistics.cutover_progress import note_progress
from orbsite.operations.statistics.daily import note_growth
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import registered
from orbsite.stores import open_sql_store, open_store, store_named

_GRACE_DAYS = cleaning.GRACE / timedelta(days=1)


DryRun: TypeAlias = Annotated[bool, about("Dry run", "Report what would happen, and write nothing.")]
Apply: TypeAlias = Annotated[bool, about("Apply", "Carry out the changes; without it they are only reported.")]
BackupFirst: TypeAlias = Annotated[
    bool,
    about(
        "Back up first",
        "Back up files and database under ORB_BACKUP_DIR before anything is written.",
        option_help="Make no backup first.",
    ),
]
TrustClock: TypeAlias = Annotated[
    bool, about("Trust the clock", "Accept the time of this machine even where its clock seems to have jumped.")
]


class Migrate(Request, frozen=True, kw_only=True):
    """Moves the files' records into SQL."""

    name = "migrate"
    reads = (Storage.FILES,)
    writes = (Storage.SQL,)
    scope = "admin"
    keeps_files = True
    dry_run: DryRun = False
    incremental: Annotated[
        bool, about("Only files that have changed", "Skip files that are unchanged since the last complete run.")
    ] = False
    only_rejected: Annotated[
        bool,
        about("Only what was rejected", "Retry only what earlier runs rejected.", option="--retry-rejected"),
    ] = False
    resume: Annotated[bool, about("Only resume", "Resume an interrupted run, and do nothing where there is none.")] = (
        False
    )
    backup: BackupFirst = True
    bulk: Annotated[
        RowNumber | None,
        about(
            "Bulk migration",
            "Migrate the directories of this bulk migration, which migrate_orb_files --each has begun.",
            metavar="NUMBER",
            option_help="Join a bulk migration that --each has begun.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.bulk is not None and (self.incremental or self.only_rejected or self.resume or self.only is not None):
            raise ValueError("a bulk migration has arguments of its own, which were given when it began")

    @override
    def run(self, place: Place) -> Report:
        if self.bulk is not None:
            act = look_at if self.dry_run else work
            return act(find(self.bulk), now=place.now, progress=place.progress)
        return migrate(
            self.domains,
            place.data_directory,
            now=place.now,
            backup_to=place.backup_directory if self.backup else None,
            dry_run=self.dry_run,
            incremental=self.incremental,
            only_rejected=self.only_rejected,
            resume=self.resume,
            progress=place.progress,
        )


class Verify(Request, frozen=True, kw_only=True):
    """Compares the files with SQL."""

    name = "verify"
    reads = (Storage.FILES, Storage.SQL)

    @override
    def run(self, place: Place) -> Report:
        return verify(self.domains, place.data_directory, now=place.now, progress=place.progress)


class Rollback(Request, frozen=True, kw_only=True):
    """Undoes one run."""

    name = "rollback"
    reads = (Storage.SQL,)
    writes = (Storage.SQL,)
    scope = "admin"
    run_id: Annotated[RowNumber, about("Run", "The number of the run to undo.", option="run", metavar="RUN")] = (
        msgspec.field(name="run")
    )
    dry_run: DryRun = False
    force: Annotated[bool, about("Force", "Undo rows too that were changed since the run.")] = False

    @override
    def run(self, place: Place) -> Report:
        return rollback(
            self.run_id, self.domains, now=place.now, dry_run=self.dry_run, force=self.force, progress=place.progress
        )


class Validate(Request, frozen=True, kw_only=True):
    """Checks every record of the files."""

    name = "validate"
    reads = (Storage.FILES,)

    @override
    def run(self, place: Place) -> Report:
        return validate(self.domains, place.data_directory, progress=place.progress)


class Check(Request, frozen=True, kw_only=True):
    """Looks for damage in the files."""

    name = "check"
    reads = (Storage.FILES,)

    @override
    def run(self, place: Place) -> Report:
        return check(self.domains, place.data_directory)


class Compact(Request, frozen=True, kw_only=True):
    """Makes the files small; or, with a policy and a user, removes of that user what the policy does not keep."""

    name = "compact"
    reads = (Storage.FILES,)
    writes = (Storage.FILES,)
    admin_when = ("force",)
    takes_one_user = True
    policy: Annotated[RowNumber | None, about("Policy", "The retention policy to apply to one user.")] = None
    user: Annotated[str | None, about("User", "The whole id, as the records spell it.")] = None
    dry_run: DryRun = False
    force: Annotated[bool, about("Force", "Remove records even where they are more than a fifth of a store.")] = False
    trust_clock: TrustClock = False

    def __post_init__(self) -> None:
        if (self.policy is None) != (self.user is None):
            raise ValueError("a policy and a user go together")

    @override
    def run(self, place: Place) -> Report:
        how: dict[str, Any] = {
            "now": place.now,
            "dry_run": self.dry_run,
            "force": self.force,
            "progress": place.progress,
        }
        if self.policy is None or self.user is None:
            return compact(self.domains, place.data_directory, **how)
        policy = _policy(self.policy)
        if policy.store != RetentionPolicy.Store.SQL:
            raise OrbError("this policy is about files, and one user is compacted in SQL alone; choose another policy")
        (domain,) = registered([policy.domain])
        return trim(open_sql_store(domain), policy.policy, self.user, trust_clock=self.trust_clock, **how)


class Export(Request, frozen=True, kw_only=True):
    """Writes files from the configured store, in a new directory under ORB_BACKUP_DIR."""

    name = "export"
    reads = (Storage.IN_USE,)
    writes = (Storage.BACKUPS,)
    takes_one_user = True
    keeps_files = True
    user: Annotated[
        str | None,
        about(
            "User",
            "The whole id, as the records spell it.",
            metavar="ID",
            option_help="Export only the data of this user.",
        ),
    ] = None
    schema_version: Annotated[
        int | None,
        about("Schema version", "Write the files in this version, for older or newer readers.", metavar="N"),
    ] = None

    @override
    def run(self, place: Place) -> Report:
        to = place.backup_directory / f"export-{place.now():%Y%m%dT%H%M%S%f}Z"
        report = export(
            [open_store(domain) for domain in self.domains],
            to,
            user=self.user,
            schema_version=self.schema_version,
            progress=place.progress,
        )
        report.directory = to.name
        return report


class Backup(Request, frozen=True, kw_only=True):
    """Keeps files and database in a new directory under ORB_BACKUP_DIR."""

    name = "backup"
    reads = (Storage.FILES, Storage.SQL)
    writes = (Storage.BACKUPS,)
    keeps_files = True
    label: Annotated[str, about("Label", "Why the backup is made; the manifest keeps it.", metavar="TEXT")] = ""

    @override
    def run(self, place: Place) -> Report:
        base = place.data_directory
        return backup.backup(
            self.domains, base, place.backup_directory, now=place.now, files=base.is_dir(), label=self.label
        )


class Preview(Request, frozen=True, kw_only=True):
    """Tells what a retention policy would remove, and removes nothing."""

    name = "preview"
    reads = (Storage.FILES, Storage.SQL)
    policy: Annotated[RowNumber, about("Policy", "The retention policy to preview.")]

    @override
    def run(self, place: Place) -> Report:
        policy = _policy(self.policy)
        return retain(
            [store_named(policy.store, policy.domain)],
            policy.policy,
            now=place.now,
            dry_run=True,
            progress=place.progress,
        )


class Maintain(Request, frozen=True, kw_only=True):
    """Runs the retention policies that are due."""

    name = "maintain"
    reads = (Storage.FILES, Storage.SQL)
    writes = (Storage.FILES, Storage.SQL)
    admin_when = ("trust_clock",)
    trust_clock: TrustClock = False

    @override
    def run(self, place: Place) -> Report:
        report = maintain(now=place.now, only=self.only, trust_clock=self.trust_clock, progress=place.progress)
        notify(place.now)
        return report


class Measure(Request, frozen=True, kw_only=True):
    """Counts what both stores hold, and compares them user by user, for the dashboard and the trends."""

    name = "measure"
    reads = (Storage.FILES, Storage.SQL)

    @override
    def run(self, place: Place) -> Report:
        report = Report()
        facts = report.section("growth", ()).facts
        facts["noted"] = note_growth(place.now, self.domains, place.progress)
        facts["cutover_noted"] = note_progress(place.now, self.domains, place.progress)
        return report


class Repair(Request, frozen=True, kw_only=True):
    """Repairs the problems that a check of the files finds, and keeps a copy of everything that it replaces."""

    name = "repair"
    reads = (Storage.FILES,)
    writes = (Storage.FILES,)
    admin_when = ("apply",)
    restore_previous: Annotated[
        bool,
        about(
            "Restore the previous generation",
            "Where a document is lost or cannot be read, restore the generation before it; a backup may be newer.",
        ),
    ] = False
    apply: Apply = False

    @override
    def run(self, place: Place) -> Report:
        return repair(self.domains, place.data_directory, apply=self.apply, restore=self.restore_previous)


class Cleanup(Request, frozen=True, kw_only=True):
    """Removes orphaned files beside the data and expired backups."""

    name = "cleanup"
    reads = (Storage.FILES, Storage.BACKUPS)
    writes = (Storage.FILES, Storage.BACKUPS)
    admin_when = ("apply",)
    grace_days: Annotated[
        float,
        about("Days of grace", "Keep younger files, by their last change or their name.", metavar="DAYS"),
    ] = _GRACE_DAYS
    backups: Annotated[
        bool,
        about(
            "Backups too", "Remove expired backups too, as ORB_KEEP_BACKUPS_DAYS says.", option_help="Keep all backups."
        ),
    ] = True
    remove: Annotated[
        tuple[str, ...],
        about("Unknown files to remove", "An unknown file to remove, as an earlier run listed it.", metavar="NAME"),
    ] = ()
    apply: Apply = False

    @override
    def run(self, place: Place) -> Report:
        return cleaning.cleanup(
            self.domains,
            place.data_directory,
            times=cleaning.Times.of(
                place.now(),
                self.grace_days,
                app_settings.undo_days(),
                app_settings.keep_backups_days(),
                app_settings.keep_exports_days(),
            ),
            apply=self.apply,
            unknown=self.remove,
            backups=place.backup_directory if self.backups else None,
            progress=place.progress,
        )


class Sanitize(Request, frozen=True, kw_only=True):
    """Repairs rows in SQL that break the rules of their records, and lists each change."""

    name = "sanitize"
    reads = (Storage.SQL,)
    writes = (Storage.SQL,)
    admin_when = ("apply",)
    kind: Annotated[str | None, about("Kind of record", "The kind of the rows; all kinds by default.")] = None
    keys: Annotated[
        tuple[str, ...] | None,
        about("Keys", "The keys of the rows to check, as JSON lists; all by default."),
    ] = None
    apply: Apply = False

    @override
    def run(self, place: Place) -> Report:
        return sanitize(
            self.domains, now=place.now, kind=self.kind, keys=self.keys, apply=self.apply, progress=place.progress
        )


class UpgradeFiles(Request, frozen=True, kw_only=True):
    """Writes the files in the newest schema version, or in an older one for programs that do not know it."""

    name = "upgrade-files"
    reads = (Storage.FILES,)
    writes = (Storage.FILES,)
    scope = "admin"
    keeps_files = True
    schema_version: Annotated[
        int | None, about("Schema version", "Write the files in this version; the newest by default.", metavar="N")
    ] = None
    dry_run: DryRun = False
    force: Annotated[bool, about("Force", "Give up what an older version cannot hold.")] = False
    backup: Annotated[
        bool,
        about(
            "Back up first",
            "Back up the files that change under ORB_BACKUP_DIR before anything is written.",
            option_help="Make no backup first.",
        ),
    ] = True

    @override
    def run(self, place: Place) -> Report:
        return upgrade_files(
            self.domains,
            place.data_directory,
            now=place.now,
            schema_version=self.schema_version,
            backup_to=place.backup_directory if self.backup else None,
            dry_run=self.dry_run,
            force=self.force,
            progress=place.progress,
        )


class UpgradeRows(Request, frozen=True, kw_only=True):
    """Upgrades rows in SQL whose content is of an older schema version; a rollback takes it back."""

    name = "upgrade-rows"
    reads = (Storage.SQL,)
    writes = (Storage.SQL,)
    scope = "admin"
    dry_run: DryRun = False

    @override
    def run(self, place: Place) -> Report:
        return upgrade_rows(self.domains, now=place.now, dry_run=self.dry_run, progress=place.progress)


class Import(Request, frozen=True, kw_only=True):
    """Moves the records of a database of the earlier system, which was uploaded, into SQL."""

    name = "import"
    reads = (Storage.UPLOADS,)
    writes = (Storage.SQL,)
    scope = "admin"
    keeps_files = True
    upload: Annotated[str, about("Database", "The name of a database under ORB_BACKUP_DIR/uploads.")]
    dry_run: DryRun = False
    backup: BackupFirst = True

    @override
    def run(self, place: Place) -> Report:
        return import_database(
            self.domains,
            str(path_of(place.backup_directory, self.upload)),
            now=place.now,
            backup_to=place.backup_directory if self.backup else None,
            dry_run=self.dry_run,
            progress=place.progress,
        )


class Erase(Request, frozen=True, kw_only=True):
    """Erases one user in every store that is present, and says what remains elsewhere."""

    name = "erase"
    reads = (Storage.FILES, Storage.SQL)
    writes = (Storage.FILES, Storage.SQL)
    scope = "admin"
    takes_one_user = True
    user: Annotated[str, about("User", "The whole id, as the records spell it.")] = msgspec.field()

    @override
    def run(self, place: Place) -> Report:
        stores = [open_store(domain) for domain in self.domains]
        return erase(stores, self.user, base=place.data_directory, backups=place.backup_directory, now=place.now)


class Index(Request, frozen=True, kw_only=True):
    """Brings the search index up to date with the records in SQL."""

    name = "index"
    reads = (Storage.SQL,)
    writes = (Storage.SQL,)
    anew: Annotated[
        bool, about("Index everything again", "Index records again that have not changed, as after some updates.")
    ] = False

    @override
    def run(self, place: Place) -> Report:
        return index(self.domains, now=place.now, anew=self.anew, progress=place.progress)


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
        UpgradeFiles,
        UpgradeRows,
        Import,
        Erase,
        Index,
    )
}
"""The operations that a worker can run, by name."""


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
