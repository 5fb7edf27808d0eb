"""Removes leftover files: temporary files of dead processes, set-aside copies, expired tombstones and backups.

A file with an unknown name is listed, and removed only when the caller names it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orbsite.operations.backup import uploads
from orbsite.operations.backup.prune import BackupDirectory
from orbsite.operations.files import export_directories as exports
from orbsite.operations.files.untracked_files import entered, named, shown, untracked_in
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.storage.errors import DocumentRefused, OrbError
from orbsite.storage.file.document import LOST_AND_FOUND, OWN, Document, require_directory
from orbsite.storage.file.orphans import (
    HALF_FACTS,
    HALF_TOMBSTONE_FILES,
    TOMBSTONE_FILES,
    OrphanFile,
    Spelling,
    is_needed,
    of_document,
    of_lost_and_found,
)
from orbsite.storage.file.tombstones import TOMBSTONES
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.findings import error, warning
from orbsite.storage.records.domain import Domain
from orbsite.stores import open_document

COLUMNS = ("left_over", "younger", "unknown", "removed")
KIND = "files"
BACKUPS, UNKNOWN = "backups", "unknown"
GRACE = timedelta(days=7)
_MOST_DAYS = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """How long to keep files, counted from a file's last change or from the time in its name, whichever is later."""

    now: datetime
    grace: timedelta
    undo: timedelta
    """How long to keep tombstones."""
    backups: timedelta | None
    """How long to keep backups; None keeps them forever. The newest backup is always kept."""
    exports: timedelta | None = None
    """How long to keep the exports of jobs; None keeps them forever."""

    @classmethod
    def of(cls, now: datetime, grace: float, undo: float, backups: float | None, exports: float | None = None) -> Times:
        """Return the times for numbers of days. Raises OrbError for a number that is out of range."""
        if not all(0 <= days <= _MOST_DAYS for days in (grace, undo, backups or 0, exports or 0)):
            raise OrbError(f"a number of days must be from 0 to {_MOST_DAYS}; nothing was done")
        kept, exported = (None if days is None else timedelta(days=days) for days in (backups, exports))
        return cls(now=now, grace=timedelta(days=grace), undo=timedelta(days=undo), backups=kept, exports=exported)


def cleanup(
    domains: list[Domain],
    base: Path,
    *,
    times: Times,
    apply: bool,
    unknown: Iterable[str] = (),
    backups: Path | None = None,
    progress: Progress = silent,
) -> Report:
    """Remove leftover files under a data directory and among backups; without `apply`, report what would be removed.

    `unknown` names untracked files to remove too, relative to the data directory. Each has to be one that the report
    lists; otherwise nothing is done (OrbError). Raises DocumentError where the directory is missing.
    """
    require_directory(base)
    work = _Cleanup(Report(columns=COLUMNS, bad=("failed",)), base, times, apply)
    progress.tells_of(work.report)
    with Directory.open(base) as top:
        untracked = untracked_in(top)
        wanted = [named(untracked, name) for name in unknown]
        for domain in domains:
            try:
                work.beside(domain)
            except DocumentRefused as problem:
                work.section(domain.name).findings.append(warning(domain.file.parent.name, f"{problem}; left alone"))
            progress(1)
        work.tombstones(top)
        if backups is not None:
            section = work.section(BACKUPS)
            backup_directory = BackupDirectory(backups, times.now, times.grace, times.backups)
            for path, orphan, remove in (
                *backup_directory.expired(),
                *uploads.expired(backups, times.now, times.grace),
                *exports.expired(backups, times.now, times.exports),
            ):
                work.remove_or_report(section, path, orphan, remove)
        work.untracked(top, untracked, wanted)
    return work.report


@dataclass(slots=True)
class _Cleanup:
    report: Report
    base: Path
    times: Times
    apply: bool

    def section(self, name: str) -> Section:
        return self.report.section(name, (KIND,))

    def beside(self, domain: Domain) -> None:
        """Remove leftover files beside a document, under its lock."""
        document, section = open_document(domain, self.base), self.section(domain.name)
        with document.reading() as directory:
            old = [] if directory is None else self._old(document, directory, section)
            if directory is None or not old:
                return
            if is_needed(domain, document, directory):
                path = shown(document.path.relative_to(self.base))
                message = f"is missing or damaged: {len(old)} files beside it stay, because a repair may need them"
                section.findings.append(warning(path, f"{message}. Run check_orb_files"))
                return
        with ExitStack() as stack:
            if self.apply:
                try:
                    directory = stack.enter_context(document.writing(make=False))
                except DocumentRefused as problem:
                    section.count(KIND, "left_over", len(old))
                    section.count(KIND, "failed", len(old))
                    section.findings.append(error(domain.file.parent.name, f"nothing was removed: {problem}"))
                    return
                if is_needed(domain, document, directory):
                    return
            else:
                directory = stack.enter_context(Directory.open(document.path.parent))
            for within, orphan in old:
                self._unlink(section, directory, within, orphan)

    def tombstones(self, top: Directory) -> None:
        """Remove the tombstones whose undo window has ended."""
        undo, grace = self.times.undo, self.times.grace
        self._own(top, (OWN,), [(HALF_FACTS, grace)])
        self._own(top, (OWN, TOMBSTONES), [(TOMBSTONE_FILES, undo), (HALF_TOMBSTONE_FILES, grace)])

    def _own(self, top: Directory, within: tuple[str, ...], kept: list[tuple[Spelling, timedelta]]) -> None:
        section = self.section(TOMBSTONES)
        with ExitStack() as stack:
            try:
                directory = entered(stack, top, within)
            except FileNotFoundError:
                return
            except DocumentRefused as problem:
                section.findings.append(warning("/".join(within), f"{problem}; nothing was done there"))
                return
            for spelling, keep in kept:
                for orphan in spelling.found(directory):
                    if self._is_over(section, orphan, keep):
                        self._unlink(section, directory, None, orphan)

    def untracked(self, top: Directory, untracked: dict[str, os.stat_result], wanted: list[str]) -> None:
        """List the untracked files, and remove the named ones."""
        section = self.section(UNKNOWN)
        for name, status in untracked.items():
            section.count(KIND, "unknown")
            if name not in wanted:
                section.findings.append(warning(shown(name), f"is unknown, {status.st_size:,} bytes; it stays"))
                continue
            *within, last = name.split("/")
            with ExitStack() as stack:
                directory = entered(stack, top, within)
                self._unlink(section, directory, None, OrphanFile.of(last, "was named for removal", status))

    def remove_or_report(self, section: Section, path: Path, orphan: OrphanFile, act: Callable[[], None]) -> None:
        """Remove a file, or report that it would be removed."""
        size = orphan.size
        message = f"{orphan.reason}, {size:,} bytes"
        section.count(KIND, "left_over")
        section.facts["bytes"] = section.facts.get("bytes", 0) + size
        where = shown(path.relative_to(self.base) if path.is_relative_to(self.base) else path)
        if not self.apply:
            section.findings.append(warning(where, f"{message}; --apply would remove it"))
            return
        try:
            act()
        except (OSError, OrbError) as problem:
            section.count(KIND, "failed")
            why = problem.strerror if isinstance(problem, OSError) else problem
            section.findings.append(error(where, f"{message}; it was not removed: {why}"))
        else:
            section.count(KIND, "removed")
            section.findings.append(warning(where, f"{message}; removed"))
            self.report.removed.append(path)

    def _old(self, document: Document, directory: Directory, section: Section) -> list[tuple[str | None, OrphanFile]]:
        found: list[tuple[str | None, OrphanFile]] = [
            (None, one) for one in of_document(document.name).found(directory)
        ]
        try:
            with directory.enter(LOST_AND_FOUND) as lost:
                found += [(LOST_AND_FOUND, one) for one in of_lost_and_found(document.name).found(lost)]
        except FileNotFoundError:
            pass
        except DocumentRefused as problem:
            section.findings.append(warning(LOST_AND_FOUND, str(problem)))
        return [(within, one) for within, one in found if self._is_over(section, one, self.times.grace)]

    def _is_over(self, section: Section, orphan: OrphanFile, keep: timedelta) -> bool:
        is_over = orphan.is_over(keep, self.times.now)
        section.count(KIND, "younger", not is_over)
        return is_over

    def _unlink(self, section: Section, directory: Directory, within: str | None, orphan: OrphanFile) -> None:
        def act() -> None:
            with ExitStack() as stack:
                place = stack.enter_context(directory.enter(within)) if within else directory
                if not orphan.is_still(place.status_of(orphan.name)):
                    raise OrbError("it was changed meanwhile; run this again")
                place.fs.unlink(orphan.name, place.descriptor)
                place.sync()

        path = directory.path / within if within else directory.path
        self.remove_or_report(section, path / orphan.name, orphan, act)
