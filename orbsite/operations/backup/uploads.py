"""Uploaded databases of the earlier system, each in a private file under ORB_BACKUP_DIR/uploads."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from orbsite.storage.errors import DocumentRefused, OrbError, SaveFailed
from orbsite.storage.file.orphans import MOMENT, OrphanFile, Spelling, is_plain
from orbsite.storage.filesystem.directory import Directory, numbered

UPLOADS = "uploads"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_OURS = Spelling([(rf"upload-{MOMENT}(?:-[0-9]{{1,6}})?\.db", "an upload, which has had its time to be imported")])
_MOST_LISTED = 100


def keep(under: Path, chunks: Iterable[bytes], *, now: datetime) -> str:
    """Write an upload to a new file, synced, and return its name. Raises OrbError."""
    with Directory.make(under / UPLOADS) as directory:
        taken = set(directory.names())
        name = next(one for one in numbered(f"upload-{now:%Y%m%dT%H%M%SZ}", ".db") if one not in taken)
        try:
            descriptor = directory.fs.create(name, directory.descriptor)
            try:
                for chunk in chunks:
                    directory.write_all(descriptor, chunk)
                directory.fs.sync(descriptor)
            except BaseException:
                directory.fs.unlink(name, directory.descriptor)
                raise
            finally:
                directory.close(descriptor)
            directory.sync()
        except OSError as problem:
            raise SaveFailed(
                f"the upload could not be saved ({os.strerror(problem.errno or 0)}); try again"
            ) from problem
    return name


def names(under: Path) -> list[str]:
    """Return the names of the uploads that can be imported, newest first."""
    try:
        with Directory.open(under / UPLOADS) as directory:
            found = []
            for name in directory.names():
                status = directory.status_of(name) if _NAME.fullmatch(name) else None
                if status is not None and is_plain(status):
                    found.append((status.st_mtime_ns, name))
    except (FileNotFoundError, DocumentRefused):
        return []
    return [name for _, name in sorted(found, reverse=True)[:_MOST_LISTED]]


def path_of(under: Path, name: str) -> Path:
    """Return the path of an upload. Raises OrbError where there is no upload of that name."""
    if _NAME.fullmatch(name):
        try:
            with Directory.open(under / UPLOADS) as directory:
                status = directory.status_of(name)
                if status is not None and is_plain(status):
                    return under / UPLOADS / name
        except FileNotFoundError:
            pass
    raise OrbError("there is no upload of that name under ORB_BACKUP_DIR/uploads; upload the database again")


def expired(under: Path, now: datetime, grace: timedelta) -> Iterator[tuple[Path, OrphanFile, Callable[[], None]]]:
    """Yield the uploads older than `grace`, with a function that removes each. Files with other names are ignored."""
    try:
        with Directory.open(under / UPLOADS) as directory:
            old = [one for one in _OURS.found(directory) if one.is_over(grace, now)]
    except FileNotFoundError:
        return
    for orphan in old:
        yield under / UPLOADS / orphan.name, orphan, partial(_remove, under / UPLOADS, orphan)


def _remove(place: Path, orphan: OrphanFile) -> None:
    with Directory.open(place) as directory:
        if not orphan.is_still(directory.status_of(orphan.name)):
            raise OrbError("it was changed meanwhile; run this again")
        directory.fs.unlink(orphan.name, directory.descriptor)
        directory.sync()
