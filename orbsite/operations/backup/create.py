"""Creates a backup: a new directory with a copy of each document and of the whole SQL database."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from orbsite.conf import app_settings
from orbsite.operations.backup import database as dump
from orbsite.operations.backup import manifest
from orbsite.operations.backup.manifest import FORMAT, Manifest, SavedDocument, Stored
from orbsite.operations.report import Report
from orbsite.storage.encoding.timestamps import as_name, spell
from orbsite.storage.errors import DocumentCorrupt, DocumentError, NewerVersion, OrbError, SaveOutcomeUnknown
from orbsite.storage.file.content import entries
from orbsite.storage.file.document import naming_the_setting, require_directory
from orbsite.storage.filesystem.atomic_replace import failing_whole, replace, temporary_name
from orbsite.storage.filesystem.directory import Directory, numbered
from orbsite.storage.findings import warning
from orbsite.storage.records.domain import Domain
from orbsite.storage.sealing.envelope import IN_BACKUP
from orbsite.stores import file_store

DATABASE = "database"
"""The section of reports about the database."""


def backup(
    domains: list[Domain],
    base: Path | None,
    to: Path,
    *,
    now: Callable[[], datetime],
    files: bool = True,
    database: bool = True,
    label: str = "",
    using: str = "default",
) -> Report:
    """Back up the documents under a data directory, and the database, to a new directory under `to`.

    The report names the directory. Raises DocumentError where a document cannot be read, and StoreUnavailable where the
    database cannot be copied; then there is no new directory.
    """
    documents = _read(domains, base) if files and base is not None else None
    if documents is None and not database:
        raise OrbError("there is nothing to back up: leave out --no-files or --no-database")
    report = Report()
    report.backup = take(domains, documents, to, now=now, label=label, database=database, using=using)
    with manifest.checked(report.backup) as (_, made):
        _add_sections(report, made, domains, documents or {})
    return report


def take(
    domains: list[Domain],
    documents: Mapping[str, bytes | None] | None,
    to: Path,
    *,
    now: Callable[[], datetime],
    label: str = "",
    database: bool = True,
    using: str = "default",
) -> Path:
    """Back up documents that were read already, and the database, and return the new directory.

    This is for an operation that is about to write. `documents` maps the name of each domain to the bytes of its
    document, None where there is no file, as `FileStore.snapshot` returned them, so that the backup has the bytes that
    the operation read. It is None for an operation that reads no files. `label` gives the reason, such as "before
    migrate". The copy of the database holds committed data only: call this outside of transactions, under the lock that
    excludes other runs.

    The directory gets its final name once all its contents are on disk. Raises StoreUnavailable where the database
    cannot be copied, and SaveFailed where the disk is full or fails; then there is no new directory.
    """
    moment = now()
    with (
        naming_the_setting(to, "ORB_BACKUP_DIR (or --to)"),
        Directory.make(to) as parent,
        _fresh(parent) as (name, directory),
    ):
        saved = [
            _save(domain, documents[domain.name], directory)
            for domain in domains
            if documents is not None and domain.name in documents
        ]
        made = Manifest(
            format=FORMAT,
            taken_at=spell(moment),
            label=os.fsencode(label).decode(errors="backslashreplace"),  # an argument may hold bytes that are no text
            versions=dump.versions(using if database else None),
            documents=saved,
            database=dump.save(directory, using) if database else None,
        )
        manifest.write(directory, made)
        directory.sync()
        return to / _publish(parent, name, moment)


def _read(domains: list[Domain], base: Path) -> dict[str, bytes | None]:
    try:
        require_directory(base)
    except DocumentError as problem:
        raise DocumentError(f"{problem}, or leave the files out with --no-files") from problem
    return {domain.name: file_store(domain, base).snapshot() for domain in domains}


@contextlib.contextmanager
def _fresh(parent: Directory) -> Iterator[tuple[str, Directory]]:
    """Make a directory under a temporary name, and remove it again if the block raises an error."""
    name = temporary_name("backup")
    with failing_whole(parent.path / name):
        parent.fs.make_directory(name, parent.descriptor)
    try:
        with failing_whole(parent.path / name), parent.enter(name).claimed() as directory:
            yield name, directory
    except BaseException:
        shutil.rmtree(parent.path / name, ignore_errors=True)
        raise


def _save(domain: Domain, data: bytes | None, directory: Directory) -> SavedDocument:
    file = None
    if data is not None:
        name = f"{domain.name}.json"
        data = app_settings.packing().envelope(f"{IN_BACKUP}/{domain.name}").close(data)
        replace(directory, name, data, None)
        file = Stored(name=name, size=len(data), sha256=sha256(data).hexdigest())
    return SavedDocument(domain=domain.name, document=str(domain.file), file=file)


def _publish(parent: Directory, temporary: str, moment: datetime) -> str:
    """Rename the directory to its time, with a number where that name is taken, and return the name."""
    name = parent.rename_to_free(temporary, numbered(as_name(moment)))
    _confirm(parent, name)
    return name


def _confirm(parent: Directory, name: str) -> None:
    try:
        parent.sync()
    except OSError as problem:
        raise SaveOutcomeUnknown(
            f"the backup {parent.path / name} is complete, but the disk did not confirm it: {problem.strerror}; "
            "check the disk, and create another backup"
        ) from problem


def _add_sections(report: Report, made: Manifest, domains: list[Domain], documents: Mapping[str, bytes | None]) -> None:
    for domain, saved in zip(domains, made.documents, strict=False):
        section = report.section(domain.name, ())
        data = documents[domain.name]
        section.facts = {"bytes": len(data or b"")}
        if data is None:
            section.findings.append(warning(saved.document, "does not exist; the backup records that"))
            continue
        try:
            entries(domain, data)
        except (DocumentCorrupt, NewerVersion) as problem:
            message = f"{problem}; the backup has its bytes as they are, and they cannot be restored by a command"
            section.findings.append(warning(saved.document, message))
    if made.database:
        rows = sum(made.database.rows.values())
        report.section(DATABASE, ()).facts = {"bytes": made.database.file.size, "rows": rows}
