"""The functions of the persistence guide, over the configured stores. `orbsite.persistence` exports them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from luna.domain import DOMAIN as LUNA
from luna.records import ActiveMode, Constraint, Profile
from luna.stores import (
    FileLunaPreferencesStore,
    InMemoryLunaPreferencesStore,
    SqlLunaPreferencesStore,
    create_default_luna_store,
)
from orbsite.conf.app_settings import (
    Persistence,
    backup_directory,
    keep_backups_days,
    keep_exports_days,
    persistence,
    undo_days,
)
from orbsite.conf.app_settings import data_directory as get_data_directory
from orbsite.operations.files.cleanup import GRACE, Times, cleanup
from orbsite.operations.files.compact import compact
from orbsite.operations.files.export import document_of
from orbsite.operations.files.json_file import read_json, write_json
from orbsite.operations.files.validate import Validation, sanitize_record, validate_document, validate_record
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.report import Report
from orbsite.operations.retention.apply import retain
from orbsite.operations.statistics.stats import measure
from orbsite.storage.base.snapshot import snapshots
from orbsite.storage.clock import utc_now
from orbsite.storage.encoding import json_parser
from orbsite.storage.findings import Finding, Severity
from orbsite.storage.records.domain import Domain
from orbsite.stores import open_store
from te.domain import DOMAIN as TE
from te.records import Reflection
from te.retention import MAX_AGE_DAYS, MAX_PER_SESSION, guides_policy
from te.stores import (
    FileTeReflectionStore,
    InMemoryTeReflectionStore,
    SqlTeReflectionStore,
    create_default_te_store,
)

__all__ = [
    "ActiveMode",
    "Compaction",
    "Constraint",
    "FileLunaPreferencesStore",
    "FileTeReflectionStore",
    "InMemoryLunaPreferencesStore",
    "InMemoryTeReflectionStore",
    "Profile",
    "Reflection",
    "SqlLunaPreferencesStore",
    "SqlTeReflectionStore",
    "cleanup_orphaned_files",
    "compact_luna_profiles",
    "compact_te_reflections",
    "create_default_luna_store",
    "create_default_te_store",
    "export_luna_data",
    "export_te_data",
    "get_data_directory",
    "get_storage_stats",
    "migrate_all_file_to_sql",
    "migrate_luna_file_to_sql",
    "migrate_te_file_to_sql",
    "read_json",
    "sanitize_luna_profile",
    "sanitize_te_reflection",
    "validate_luna_file_data",
    "validate_luna_profile",
    "validate_te_file_data",
    "validate_te_reflection",
    "write_json",
]


@dataclass(frozen=True, slots=True)
class Migration:
    """The result of a migration of one domain: the number of main records written, and the errors."""

    migrated: int
    errors: list[str]

    @property
    def success(self) -> bool:
        """Whether no item was left out."""
        return not self.errors


@dataclass(frozen=True, slots=True)
class MigrationOfAll:
    """The results of a migration of both domains."""

    luna: Migration
    te: Migration

    @property
    def migrated(self) -> int:
        """The number of profiles and reflections written."""
        return self.luna.migrated + self.te.migrated

    @property
    def errors(self) -> list[str]:
        """The errors of both domains."""
        return self.luna.errors + self.te.errors

    @property
    def success(self) -> bool:
        """Whether no item was left out."""
        return not self.errors


def migrate_luna_file_to_sql(data_dir: Path | None = None, *, backup: bool = True) -> Migration:
    """Migrate the profiles and active modes of a data directory into SQL. Raises DocumentError and StoreUnavailable.

    Files and database are first backed up under ORB_BACKUP_DIR, unless `backup` is false.
    """
    return _outcome(_migrate([LUNA], data_dir, backup=backup), LUNA)


def migrate_te_file_to_sql(data_dir: Path | None = None, *, backup: bool = True) -> Migration:
    """Migrate the reflections of a data directory into SQL, as `migrate_luna_file_to_sql` does with the profiles."""
    return _outcome(_migrate([TE], data_dir, backup=backup), TE)


def migrate_all_file_to_sql(data_dir: Path | None = None, *, backup: bool = True) -> MigrationOfAll:
    """Migrate all files of a data directory into SQL, in one run, as `migrate_luna_file_to_sql` does."""
    report = _migrate([LUNA, TE], data_dir, backup=backup)
    return MigrationOfAll(luna=_outcome(report, LUNA), te=_outcome(report, TE))


@dataclass(frozen=True, slots=True)
class Compaction:
    """The number of items that a compaction removed, the bytes before and after, and the items that it left."""

    removed: int
    before_size: int
    after_size: int
    errors: list[str]


def compact_luna_profiles() -> Compaction:
    """Remove invalid profiles, and users without data, from `luna/profiles.json`.

    Removed items are first kept under `.orb/tombstones`; valid profiles are never removed. In memory and in SQL no
    profile can be invalid, and nothing is removed. Raises DocumentError.
    """
    if persistence() is not Persistence.FILE:
        size = open_store(LUNA).size()
        return Compaction(0, size, size, [])
    if not get_data_directory().is_dir():
        return Compaction(0, 0, 0, [])
    section = compact([LUNA], get_data_directory(), now=utc_now, force=True).domains[LUNA.name]
    return Compaction(section.total("removed"), section.facts["before"], section.facts["after"], [])


def cleanup_orphaned_files() -> list[Path]:
    """Remove our own leftover files under the data directory, and expired backups; return the removed paths.

    Files younger than a week, files of other layers and unknown files are never removed.
    """
    if not get_data_directory().is_dir():
        return []
    times = Times.of(utc_now(), GRACE / timedelta(days=1), undo_days(), keep_backups_days(), keep_exports_days())
    report = cleanup([LUNA, TE], get_data_directory(), times=times, apply=True, backups=backup_directory())
    return report.removed


def compact_te_reflections(
    max_age_days: float = MAX_AGE_DAYS,
    max_reflections_per_session: int = MAX_PER_SESSION,
    *,
    trust_clock: bool = False,
) -> Compaction:
    """Remove reflections from the configured store that are too old, or beyond the newest ones of their session.

    There is no limit to their number; each is kept as a tombstone first. Reflections that do not decode or are from the
    future stay, and are listed as errors. Raises ClockJumped where the clock seems to have jumped back, unless
    `trust_clock`.
    """
    policy = guides_policy(max_age_days, max_reflections_per_session)
    section = retain([open_store(TE)], policy, now=utc_now, force=True, trust_clock=trust_clock).domains[TE.name]
    left = [f"{one.path}: {one.message}" for one in section.findings]
    return Compaction(section.total("removed"), section.facts["before"], section.facts["after"], left)


def export_luna_data(user_id: str | None = None) -> Any:
    """Return the data of the configured store, of all users or of one, as parsed JSON like `luna/profiles.json`."""
    return _exported(LUNA, user_id)


def export_te_data(user_id: str | None = None) -> Any:
    """Return the data of the configured store, of all users or of one, as parsed JSON like `te/reflections.json`."""
    return _exported(TE, user_id)


def validate_luna_profile(value: Any) -> Validation:
    """Check a profile, given as parsed JSON or as a record. The result has `.valid` and `.errors`."""
    return validate_record(Profile, value)


def validate_te_reflection(value: Any) -> Validation:
    """Check a reflection, given as parsed JSON or as a record. The result has `.valid` and `.errors`."""
    return validate_record(Reflection, value)


def validate_luna_file_data(data: Any) -> Validation:
    """Check the whole content of `luna/profiles.json`, parsed or as bytes."""
    return validate_document(LUNA, data)


def validate_te_file_data(data: Any) -> Validation:
    """Check the whole content of `te/reflections.json`, parsed or as bytes."""
    return validate_document(TE, data)


def sanitize_luna_profile(
    value: Any,
    *,
    new_id: Callable[[], object] | None = uuid4,
    now: Callable[[], datetime] | None = utc_now,
    changes: list[Finding] | None = None,
) -> Profile | None:
    """Return a clean profile made from a value, or None where it names no user. Changes are appended to `changes`."""
    return sanitize_record(Profile, value, new_id=new_id, now=now, changes=changes)


def sanitize_te_reflection(
    value: Any,
    *,
    new_id: Callable[[], object] | None = uuid4,
    now: Callable[[], datetime] | None = utc_now,
    changes: list[Finding] | None = None,
) -> Reflection | None:
    """Return a clean reflection made from a value, or None where that fails. The changes are appended to `changes`."""
    return sanitize_record(Reflection, value, new_id=new_id, now=now, changes=changes)


def get_storage_stats() -> SimpleNamespace:
    """Return the counts and sizes of the configured stores, as `.luna.users`, `.te.sessions`, `.te.size` and so on."""
    found = {domain.name: measure(open_store(domain), utc_now) for domain in (LUNA, TE)}
    return SimpleNamespace(**{name: SimpleNamespace(**values) for name, values in found.items()})


def _exported(domain: Domain, user_id: str | None) -> Any:
    with snapshots([open_store(domain)], user_id) as (taken,):
        return json_parser.parse(document_of(taken))


def _migrate(domains: list[Domain], data_dir: Path | None, *, backup: bool) -> Report:
    return migrate(
        domains, data_dir or get_data_directory(), now=utc_now, backup_to=backup_directory() if backup else None
    )


def _outcome(report: Report, domain: Domain) -> Migration:
    section = report.domains[domain.name]
    counts = section.counts[domain.kinds[0].plural]
    left_out = [f"{one.path}: {one.message}" for one in section.findings if one.severity is Severity.ERROR]
    return Migration(migrated=counts["new"] + counts["replaced"], errors=left_out)
