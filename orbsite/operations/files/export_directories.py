"""The export directories of jobs under ORB_BACKUP_DIR: their sizes and their expiry."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

from orbsite.storage.errors import DocumentRefused, OrbError
from orbsite.storage.file.orphans import OrphanFile, is_plain, kept_beside, moment_of
from orbsite.storage.filesystem.atomic_replace import temporary_name
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.records.domain import registered

NAME = re.compile(r"export-(?P<second>[0-9]{8}T[0-9]{6})[0-9]{0,6}Z", re.ASCII)
_HALF_REMOVED = re.compile(r"\.export\.[0-9]{1,10}\.[0-9a-f]{8}\.tmp", re.ASCII)
_REASON = "an export that has expired"


def expired(
    under: Path, now: datetime, keep: timedelta | None
) -> Iterator[tuple[Path, OrphanFile, Callable[[], None]]]:
    """Yield the exports older than `keep`, with a function that removes each; None keeps all.

    A directory that holds other files is ignored.
    """
    if keep is None:
        return
    try:
        with Directory.open(under) as parent:
            names = [name for name in sorted(parent.names()) if NAME.fullmatch(name) or _HALF_REMOVED.fullmatch(name)]
            old = [one for name in names if (one := _as_orphan(parent, name)) is not None and one.is_over(keep, now)]
    except FileNotFoundError:
        return
    for orphan in old:
        yield under / orphan.name, orphan, _ExportRemoval(under, orphan)


def remove_expired(under: Path, now: datetime, keep: timedelta | None) -> int:
    """Remove the expired exports and return their number. One that cannot be removed stays until the next time."""
    number = 0
    for _, _, remove in expired(under, now, keep):
        try:
            remove()
        except (OSError, OrbError):
            continue
        number += 1
    return number


def bytes_in(directory: Path) -> int:
    """Return the total size in bytes of the files under a directory; 0 where it does not exist."""
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                total += Path(root, name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


class _ExportRemoval:
    """Removes an export. It is renamed first, so that a partly removed export cannot pass for a complete one."""

    def __init__(self, under: Path, orphan: OrphanFile) -> None:
        self._under, self._leftover = under, orphan

    def __call__(self) -> None:
        """Remove the export. Raises OSError, and OrbError where it has changed since it was found."""
        name = self._leftover.name
        with Directory.open(self._under) as parent:
            current = _as_orphan(parent, name)
            if current is None or (current.size, current.youngest) != (self._leftover.size, self._leftover.youngest):
                raise OrbError("it was changed meanwhile; run this again")
            if not name.startswith("."):
                name = temporary_name("export")
                parent.fs.rename(self._leftover.name, name, parent.descriptor)
                parent.sync()
            with parent.enter(name) as export:
                _clear(export)
            parent.fs.remove_directory(name, parent.descriptor)
            parent.sync()


def _clear(directory: Directory) -> None:
    for name in directory.names():
        status = directory.status_of(name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            with directory.enter(name) as inner:
                _clear(inner)
            directory.fs.remove_directory(name, directory.descriptor)
        elif status is not None:
            directory.fs.unlink(name, directory.descriptor)


def _as_orphan(parent: Directory, name: str) -> OrphanFile | None:
    """Return an export with its size and its last change, or None where it holds other files."""
    match = NAME.fullmatch(name)
    stamp = moment_of(f"{match['second']}Z") if match else 0
    try:
        with ExitStack() as stack:
            files = list(_files(stack, stack.enter_context(parent.enter(name)), _known()))
    except (FileNotFoundError, NotADirectoryError, DocumentRefused):
        return None
    size = sum(one.st_size for one in files if not stat.S_ISDIR(one.st_mode))
    return OrphanFile(name, _REASON, size, max([stamp, *(one.st_mtime_ns for one in files)]))


def _known() -> dict[tuple[str, ...], set[str]]:
    """Return the names of the files that an export may hold, by directory."""
    known: dict[tuple[str, ...], set[str]] = {}
    for domain in registered():
        known.setdefault(domain.file.parts[:-1], set()).update(kept_beside(domain.file.name))
    return known


def _files(
    stack: ExitStack, directory: Directory, known: dict[tuple[str, ...], set[str]], within: tuple[str, ...] = ()
) -> Iterator[os.stat_result]:
    for name in directory.names():
        place = (*within, name)
        status = directory.status_of(name)
        if status is None:
            continue
        if stat.S_ISDIR(status.st_mode) and any(parts[: len(place)] == place for parts in known):
            yield status
            yield from _files(stack, stack.enter_context(directory.enter(name)), known, place)
        elif is_plain(status) and name in known.get(within, ()):
            yield status
        else:
            raise DocumentRefused(f"{name} is not a file of an export")
