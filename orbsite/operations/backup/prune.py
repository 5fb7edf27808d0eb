"""Finds and removes expired backups, and incomplete backups of killed processes."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orbsite.operations.backup import manifest
from orbsite.operations.backup.manifest import MANIFEST, SUMS
from orbsite.storage.errors import OrbError
from orbsite.storage.file.orphans import MOMENT, TEMPORARY, OrphanFile, is_held, is_plain, stamp_of
from orbsite.storage.filesystem.atomic_replace import temporary_name
from orbsite.storage.filesystem.directory import Directory

_WHOLE = re.compile(rf"{MOMENT}(?:-(?P<number>[0-9]{{1,6}}))?", re.ASCII)
_HALF = re.compile(rf"\.backup{TEMPORARY}", re.ASCII)
_FILE = re.compile(rf"{re.escape(MANIFEST)}|{SUMS}|[a-z0-9_]+\.json|database\.(?:sqlite3|dump)", re.ASCII)
_HALF_FILE = re.compile(rf"\.(?:{_FILE.pattern}){TEMPORARY}|{_FILE.pattern}|database\.sqlite3-journal", re.ASCII)

Expired = tuple[Path, OrphanFile, Callable[[], None]]


def newest_backup(path: Path) -> datetime | None:
    """Return the time of the newest backup, by its name. Its checksums are not verified.

    A backup gets its name once it is complete, so that a backup with a manifest counts as complete. None where there is
    no backup, or where the directory cannot be read.
    """
    try:
        with Directory.open(path) as parent:
            found = [(moment, name) for name in parent.names() if (moment := made_at(name)) is not None]
            return next((moment for moment, name in sorted(found, reverse=True) if _has_manifest(parent, name)), None)
    except (OSError, OrbError):
        return None


@dataclass(slots=True)
class BackupDirectory:
    """The parent directory of all backups, and how long to keep them."""

    path: Path
    now: datetime
    grace: timedelta
    keep: timedelta | None

    def expired(self) -> Iterator[Expired]:
        """Yield each directory that may be removed, with a function that removes it; never the newest valid backup."""
        try:
            with Directory.open(self.path) as parent:
                found = [*self._incomplete(parent), *self._complete(parent)]
        except FileNotFoundError:
            return
        for orphan, file in found:
            yield self.path / orphan.name, orphan, _BackupRemoval(self.path, orphan, file)

    def _incomplete(self, parent: Directory) -> Iterator[tuple[OrphanFile, re.Pattern[str]]]:
        for name in sorted(parent.names()):
            match = _HALF.fullmatch(name)
            if match and not is_held(match):
                orphan = _as_orphan(parent, name, "a backup that was killed half way", _HALF_FILE, 0)
                if orphan is not None and orphan.is_over(self.grace, self.now):
                    yield orphan, _HALF_FILE

    def _complete(self, parent: Directory) -> Iterator[tuple[OrphanFile, re.Pattern[str]]]:
        if self.keep is None:
            return
        matches = [match for name in parent.names() if (match := _WHOLE.fullmatch(name))]
        newest_first = sorted(matches, key=lambda one: (one["moment"], int(one["number"] or 1)), reverse=True)
        old = []
        for match in newest_first:
            orphan = _as_orphan(parent, match[0], "a backup that has expired", _FILE, stamp_of(match))
            if orphan is not None and orphan.is_over(self.keep, self.now):
                old.append(orphan)
        newest = next((one[0] for one in newest_first if _is_valid(self.path / one[0])), None) if old else None
        if newest is not None:
            yield from ((one, _FILE) for one in reversed(old) if one.name != newest)


@dataclass(frozen=True, slots=True)
class _BackupRemoval:
    path: Path
    orphan: OrphanFile
    file: re.Pattern[str]

    def __call__(self) -> None:
        """Remove the directory. It is renamed first, so that a partly removed backup cannot pass for a complete one."""
        with Directory.open(self.path) as parent:
            known = _as_orphan(parent, self.orphan.name, "", self.file, 0)
            if known is None or known.size != self.orphan.size or known.youngest > self.orphan.youngest:
                raise OrbError("it was changed meanwhile; run this again")
            name = self.orphan.name
            if not name.startswith("."):
                name = temporary_name("backup")
                parent.fs.rename(self.orphan.name, name, parent.descriptor)
                parent.sync()
            with parent.enter(name) as directory:
                for one in directory.names():
                    directory.fs.unlink(one, directory.descriptor)
            parent.fs.remove_directory(name, parent.descriptor)
            parent.sync()


def _as_orphan(parent: Directory, name: str, reason: str, file: re.Pattern[str], stamp: int) -> OrphanFile | None:
    """Return a directory with its total size and its last change, or None where it holds unknown files."""
    status = parent.status_of(name)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return None
    size, changed = 0, status.st_mtime_ns
    with parent.enter(name) as directory:
        for one in directory.names():
            inner = directory.status_of(one)
            if inner is None or not file.fullmatch(one) or not is_plain(inner):
                return None
            size, changed = size + inner.st_size, max(changed, inner.st_mtime_ns)
    return OrphanFile(name, reason, size, max(changed, stamp))


def _is_valid(path: Path) -> bool:
    try:
        with manifest.checked(path):
            return True
    except OrbError:
        return False


def made_at(name: str) -> datetime | None:
    """Return the time in the name of a backup; None for any other name."""
    match = _WHOLE.fullmatch(name)
    try:
        return datetime.fromisoformat(match["moment"]) if match else None
    except ValueError:
        return None


def _has_manifest(parent: Directory, name: str) -> bool:
    status = parent.status_of(name)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return False
    with parent.enter(name) as directory:
        return directory.status_of(MANIFEST) is not None
