"""The exports of jobs, each in a directory of its own under ORB_BACKUP_DIR: their size, and when they expire."""

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
    """Yield the exports that are older, and what removes each; None keeps all. What holds other files is left alone."""
    if keep is None:
        return
    try:
        with Directory.open(under) as parent:
            names = [name for name in sorted(parent.names()) if NAME.fullmatch(name) or _HALF_REMOVED.fullmatch(name)]
            old = [one for name in names if (one := _seen(parent, name)) is not None and one.is_over(keep, now)]
    except FileNotFoundError:
        return
    for orphan in old:
        yield under / orphan.name, orphan, _ExportRemoval(under, orphan)


def remove_expired(under: Path, now: datetime, keep: timedelta | None) -> int:
    """Remove the exports that are older, and return how many; one that cannot be removed stays for the next time."""
    number = 0
    for _, _, remove in expired(under, now, keep):
        try:
            remove()
        except (OSError, OrbError):
            continue
        number += 1
    return number


def bytes_in(directory: Path) -> int:
    """Return how many bytes the files under a directory have; 0 where it is not there."""
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                total += Path(root, name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


class _ExportRemoval:
    """Removes an export: first it loses its name, so that what is left of it is not taken for an export."""

    def __init__(self, under: Path, orphan: OrphanFile) -> None:
        self._under, self._leftover = under, orphan

    def __call__(self) -> None:
        """Remove it. Raises OSError, and OrbError where it was changed since it was found."""
        name = self._leftover.name
        with Directory.open(self._under) as parent:
            there = _seen(parent, name)
            if there is None or (there.size, there.youngest) != (self._leftover.size, self._leftover.youngest):
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


def _seen(parent: Directory, name: str) -> OrphanFile | None:
    """Return an export with its size and last change, or None where it holds anything that an export does not."""
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
    """Return the files that an export may hold, by their directory."""
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
            raise DocumentRefused(f"{name} is no file of an export")
