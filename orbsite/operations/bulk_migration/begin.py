"""Begins a bulk migration, or continues it: adds the directories that are new, and lets failed ones wait again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import msgspec
from django.db import transaction

from orbsite.conf import app_settings
from orbsite.models.bulk_migrations import (
    UNFINISHED,
    BulkDirectory,
    BulkMigration,
    DirectoryState,
    identity_of,
    key_of,
    name_of,
)
from orbsite.operations.backup import create
from orbsite.operations.bulk_migration.discovery import Found, data_directories, resolved
from orbsite.operations.bulk_migration.patience import patiently
from orbsite.operations.ledger.runs import alone
from orbsite.operations.progress import Progress, silent
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import Domain, registered

_AT_A_TIME = 500
_TOO_LARGE = 2**63
_ANEW = {"state": DirectoryState.WAITING, "tries": 0, "not_before": None}
_NO_RESULT = {"run": None, "result": None, "read": 0, "written": 0, "problems": 0, "progress": 0, "error": ""}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How each directory of a bulk migration is migrated."""

    only: tuple[str, ...] | None = None
    incremental: bool = False
    only_rejected: bool = False

    @property
    def domains(self) -> list[Domain]:
        """The domains whose records are migrated."""
        return registered(self.only)


def options_of(bulk: BulkMigration) -> Options:
    """Return how the directories of a bulk migration are migrated."""
    return msgspec.convert(bulk.options, Options)


def find(number: int) -> BulkMigration:
    """Return a bulk migration by its number. Raises OrbError."""
    bulk = BulkMigration.objects.filter(pk=number).first() if 0 < number < _TOO_LARGE else None
    if bulk is None:
        raise OrbError(f"there is no bulk migration {number}; begin one with migrate_orb_files --each DIR")
    return bulk


def begin(
    root: Path,
    options: Options,
    *,
    now: Callable[[], datetime],
    backup_to: Path | None = None,
    again: bool = False,
    retry_failed: bool = False,
    progress: Progress = silent,
) -> tuple[BulkMigration, Found]:
    """Return the bulk migration of the data directories under a directory, and what was found there.

    A second call adds the directories that are new since. With `retry_failed`, failed directories wait again; with
    `again`, all of them do, under these options. With `backup_to`, the database is backed up there before anything is
    written, once for all directories; their files are only read. Raises OrbError where there is nothing to migrate, and
    where an unfinished bulk migration has other options.
    """
    path = resolved(root)
    found = under(path)
    bulk = BulkMigration.objects.filter(key=key_of(path)).first()
    if bulk is None and not found.directories:
        files = " or ".join(str(domain.file) for domain in registered())
        raise OrbError(f"there is no data directory under {name_of(path)}: none has {files}. Nothing was written")
    if bulk is None:
        bulk = _made(path, options, now=now, backup_to=backup_to, progress=progress)
    _refuse_other_options(bulk, options, again=again)
    _add(bulk, found.directories)
    if again:
        _begin_again(bulk, options, now=now, backup_to=backup_to, progress=progress)
    elif retry_failed:
        retry(bulk)
    return bulk, found


def under(root: Path) -> Found:
    """Find the data directories under a resolved directory. Backups are none."""
    return data_directories(root, without=[app_settings.backup_directory()])


def retry(bulk: BulkMigration) -> int:
    """Let the failed directories wait again, and return their number."""
    return BulkDirectory.objects.filter(bulk=bulk, state=DirectoryState.FAILED).update(**_ANEW)


def _made(
    path: Path, options: Options, *, now: Callable[[], datetime], backup_to: Path | None, progress: Progress
) -> BulkMigration:
    """Return a new bulk migration, or the one that another host has begun meanwhile."""
    with contextlib.ExitStack() as stack:
        if backup_to is not None:
            patiently(lambda: stack.enter_context(alone()), progress)
        bulk = BulkMigration.objects.filter(key=key_of(path)).first()
        if bulk is None:
            made = "" if backup_to is None else str(_back_up(path, backup_to, now))
            values = {"options": msgspec.to_builtins(options), "backup": made, "created_at": now()}
            bulk, _ = BulkMigration.objects.get_or_create(key=key_of(path), defaults={**identity_of(path), **values})
    return bulk


def _back_up(path: Path, to: Path, now: Callable[[], datetime]) -> Path:
    return create.take([], None, to, now=now, label=f"before the bulk migration of {path}")


def _refuse_other_options(bulk: BulkMigration, options: Options, *, again: bool) -> None:
    if again:
        waiting = BulkDirectory.objects.filter(bulk=bulk, state__in=UNFINISHED).count()
        if waiting:
            raise OrbError(f"{bulk} is not finished: {waiting} directories are left. Finish it without --again before")
    elif options_of(bulk) != options:
        raise OrbError(
            f"{bulk} has other options: {_spelled(options_of(bulk))}. Use the same ones, or, once it is finished, "
            "migrate all directories under new ones with --again"
        )


def _spelled(options: Options) -> str:
    """Return options as the command's arguments."""
    words = [f"--only {name}" for name in options.only or ()]
    words += ["--incremental"] if options.incremental else []
    words += ["--retry-rejected"] if options.only_rejected else []
    return " ".join(words) or "none"


def _add(bulk: BulkMigration, directories: Iterable[Path]) -> None:
    """Add the directories that the bulk migration does not have."""
    rows = [BulkDirectory(bulk=bulk, **identity_of(path)) for path in directories]
    BulkDirectory.objects.bulk_create(rows, batch_size=_AT_A_TIME, ignore_conflicts=True)


def _begin_again(
    bulk: BulkMigration, options: Options, *, now: Callable[[], datetime], backup_to: Path | None, progress: Progress
) -> None:
    """Let all directories wait again, under these options."""
    with contextlib.ExitStack() as stack:
        if backup_to is not None:
            patiently(lambda: stack.enter_context(alone()), progress)
            bulk.backup = str(_back_up(bulk.path, backup_to, now))
        bulk.options = msgspec.to_builtins(options)
        with transaction.atomic():
            bulk.save(update_fields=["options", "backup"])
            BulkDirectory.objects.filter(bulk=bulk).update(**_ANEW, **_NO_RESULT)
