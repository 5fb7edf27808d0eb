"""A directory that is held by its descriptor, so that it cannot be swapped for another one while it is used.

Files are private (0600, in directories of 0700) and plain: links, pipes and devices are refused.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from orbsite.storage.errors import DocumentRefused
from orbsite.storage.filesystem.background_hash import Hashing
from orbsite.storage.filesystem.file_checks import refuse_unless_plain, refused
from orbsite.storage.filesystem.syscalls import OS, FileSystem

logger = logging.getLogger(__name__)

_OPEN_TO_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_PRIVATE = 0o700
_MOST_TRIES = 1000
NO_RENAMEAT2 = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
"""The errors of a system or a file system that does not support renameat2."""


@dataclass(frozen=True)
class ReadFile:
    """The content, status and stamp of a file that was read."""

    data: bytes
    status: os.stat_result
    stamp: str | None
    """The SHA-256 that the writing store put on the file. It stays when other programs change the content."""

    @functools.cached_property
    def hashing(self) -> Hashing:
        """The SHA-256 of the content, started on first use."""
        return Hashing(self.data)

    @property
    def digest(self) -> str:
        """The SHA-256 of the content, in hex."""
        return self.hashing.hexdigest()


class OpenFile:
    """A file that is open for reading. It stays the same file if its name is given to another one."""

    def __init__(self, directory: Directory, name: str, descriptor: int) -> None:
        self._directory, self._name, self._descriptor = directory, name, descriptor

    def look(self, offset: int = 0) -> ReadFile:
        """Read the file from an offset to its end. Raises DocumentRefused.

        The status is read before the content, so that a later check finds a file changed that grows meanwhile.
        """
        fs = self._directory.fs
        try:
            status = fs.status(self._descriptor)
            refuse_unless_plain(status, self._directory, self._name)
            return ReadFile(fs.read(self._descriptor, offset), status, None if offset else self._stamp())
        except OSError as problem:
            raise refused(self._directory.path / self._name, problem) from problem

    def _stamp(self) -> str | None:
        try:
            return self._directory.fs.read_stamp(self._descriptor).decode("ascii", "replace")
        except OSError:  # it has no stamp, or the file system has no extended attributes
            return None


class Directory:
    """An open directory; use it as a context manager."""

    def __init__(self, path: Path, descriptor: int, fs: FileSystem = OS, name: str = "") -> None:
        self.descriptor, self.fs = descriptor, fs
        self._above, self._name = path, name

    @property
    def path(self) -> Path:
        """The path at which it was opened. Use it in messages only: the directory may have been renamed."""
        return self._above / self._name if self._name else self._above

    @functools.cached_property
    def identity(self) -> tuple[int, int]:
        """The device and the inode, which stay the same while the directory is open."""
        return _identity(self.fs.status(self.descriptor))

    @classmethod
    def open(cls, path: Path, fs: FileSystem = OS) -> Directory:
        """Open a directory for reading; nothing is created. Raises FileNotFoundError and DocumentRefused."""
        try:
            return cls(path, fs.open_directory(path), fs)
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise refused(path, problem) from problem

    @classmethod
    def make(cls, path: Path, fs: FileSystem = OS) -> Directory:
        """Open a directory for writing; if it is missing, it and its parents are created, private."""
        try:
            directory = cls.open(path, fs)
        except FileNotFoundError:
            above = path.parent  # links are allowed here; only the data directory itself must not be one
            with cls.open(above.resolve(), fs) if above.is_dir() else cls.make(above, fs) as parent:
                return parent.enter_or_make(path.name)
        return directory.claimed()

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(self.descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor. An error is only logged, because the content was synced before."""
        try:
            self.fs.close(descriptor)
        except OSError as problem:
            logger.warning("closing a file in %s failed: %s", self.path, problem.strerror)

    def enter(self, name: str) -> Directory:
        """Open a subdirectory for reading. Raises FileNotFoundError and DocumentRefused."""
        try:
            descriptor = self.fs.open_directory(name, self.descriptor)
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise refused(self.path / name, problem) from problem
        return Directory(self.path, descriptor, self.fs, name)

    def enter_or_make(self, name: str) -> Directory:
        """Open a subdirectory for writing; it is created if it is missing."""
        try:
            directory = self.enter(name)
        except FileNotFoundError:
            self._make(name)
            directory = self.enter(name)
        return directory.claimed()

    def _make(self, name: str) -> None:
        try:
            with contextlib.suppress(FileExistsError):
                self.fs.make_directory(name, self.descriptor)
                self.fs.sync(self.descriptor)
        except OSError as problem:
            raise refused(self.path / name, problem, "made") from problem

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None if there is no such file. Raises DocumentRefused."""
        file = self.look(name)
        return None if file is None else file.data

    def look(self, name: str, offset: int = 0) -> ReadFile | None:
        """Read a file from an offset to its end; None if there is no such file. Raises DocumentRefused."""
        descriptor = self._open_for_reading(name)
        if descriptor is None:
            return None
        try:
            return OpenFile(self, name, descriptor).look(offset)
        finally:
            self.close(descriptor)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[OpenFile | None]:
        """Open a file for reading; yields None if there is no such file. Raises DocumentRefused."""
        descriptor = self._open_for_reading(name)
        if descriptor is None:
            yield None
            return
        try:
            yield OpenFile(self, name, descriptor)
        finally:
            self.close(descriptor)

    def _open_for_reading(self, name: str) -> int | None:
        try:
            return self.fs.open_for_reading(name, self.descriptor)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise refused(self.path / name, problem) from problem

    def status_of(self, name: str) -> os.stat_result | None:
        """Return the status of a file, or None if there is no such file. Raises DocumentRefused."""
        try:
            return self.fs.status_of(name, self.descriptor)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise refused(self.path / name, problem) from problem

    def is_same(self, other: Directory) -> bool:
        """Tell whether it is the same directory as another one."""
        return self.identity == other.identity

    def is_locked(self, name: str) -> bool:
        """Tell whether a process holds a lock on a file."""
        try:
            descriptor = self.fs.open_for_reading(name, self.descriptor)
        except OSError:  # it is gone, or not a file that this project would lock
            return False
        try:
            self.fs.lock(descriptor)
        except BlockingIOError:
            return True
        except OSError:  # locks do not work here
            return False
        else:
            return False
        finally:
            self.close(descriptor)

    def move(self, name: str, to: Directory) -> None:
        """Move a file to another directory, under a free name: the time in nanoseconds, and its old name."""
        moment, taken = self.fs.nanoseconds(), set(to.names())
        while f"{moment}{name}" in taken:
            moment += 1
        self.fs.move(name, self.descriptor, f"{moment}{name}", to.descriptor)

    def put_aside(self, name: str, what: str, of: str) -> str:
        """Rename a file to the first free name `OF.WHAT-<nanoseconds>`, and return that name."""
        return self.rename_to_free(name, self._asides(what, of))

    def rename_to_free(self, name: str, candidates: Iterable[str]) -> str:
        """Rename a file or a directory to the first of these names that is free, and return that name."""
        for free in candidates:
            if self.status_of(free) is not None:
                continue
            with contextlib.suppress(FileExistsError):
                try:
                    self.fs.rename_to_free(name, free, self.descriptor)
                except OSError as problem:
                    if problem.errno not in NO_RENAMEAT2 or self.status_of(free) is not None:
                        raise
                    self.fs.rename(name, free, self.descriptor)
                return free
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), name)

    def write_aside(self, data: bytes, what: str, of: str) -> str:
        """Write and sync bytes under the first free name `OF.WHAT-<nanoseconds>`, and return that name."""
        for aside in self._asides(what, of):
            with contextlib.suppress(FileExistsError):
                descriptor = self.fs.create(aside, self.descriptor)
                try:
                    self.write_all(descriptor, data)
                    self.fs.sync(descriptor)
                finally:
                    self.close(descriptor)
                self.sync()
                return aside
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), of)

    def write_all(self, descriptor: int, data: bytes | memoryview) -> None:
        """Write all of the data to an open file, in as many calls as it takes."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.fs.write(descriptor, rest) :]

    def _asides(self, what: str, of: str) -> Iterator[str]:
        moment = self.fs.nanoseconds()
        return (f"{of}.{what}-{moment + more}" for more in range(_MOST_TRIES))

    def sync(self) -> None:
        """Sync the directory's entries to the disk."""
        self.fs.sync(self.descriptor)

    def names(self) -> list[str]:
        """Return the names in the directory. Raises DocumentRefused."""
        try:
            return self.fs.names(self.descriptor)
        except OSError as problem:
            raise refused(self.path, problem) from problem

    def claimed(self) -> Directory:
        """Make the directory private, and return it for writing; closes it if that fails. Raises DocumentRefused."""
        try:
            self._claim()
        except BaseException:
            self.close(self.descriptor)
            raise
        return self

    def _claim(self) -> None:
        """Make the directory private. Refuses one that another user owns, or that others can write to."""
        status = self.fs.status(self.descriptor)
        self.identity = _identity(status)
        if status.st_uid != os.geteuid():
            raise DocumentRefused(f"{self.path} belongs to another user (id {status.st_uid}); run this as that user")
        if status.st_mode & _OPEN_TO_OTHERS:
            raise DocumentRefused(f"{self.path} can be written to by others; run: chmod go-w {self.path}")
        if stat.S_IMODE(status.st_mode) & ~_PRIVATE:
            self._narrow(status.st_mode & _PRIVATE)

    def _narrow(self, mode: int) -> None:
        """Remove the permissions of others. Raises DocumentRefused if the system does not allow that."""
        try:
            self.fs.narrow(self.descriptor, mode)
            is_narrow = stat.S_IMODE(self.fs.status(self.descriptor).st_mode) & ~_PRIVATE == 0
        except OSError as problem:
            raise refused(self.path, problem, "made private") from problem
        if is_narrow:
            logger.warning("made %s private", self.path)
        else:
            logger.warning("%s can be read by others: its file system keeps no permissions", self.path)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def numbered(stem: str, end: str = "") -> Iterator[str]:
    """Yield a name, and then the same name with the numbers 2, 3 and so on."""
    return chain([f"{stem}{end}"], (f"{stem}-{number}{end}" for number in count(2)))
