"""A directory of ours, held by descriptor, so that nobody can swap it for another while we work in it.

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
"""What the system says where it has no such call, or not on this file system."""


@dataclass(frozen=True)
class ReadFile:
    """A file as it was read."""

    data: bytes
    status: os.stat_result
    stamp: str | None
    """The SHA-256 that whoever of us wrote it left on it, and that stays on it when others change the content."""

    @functools.cached_property
    def hashing(self) -> Hashing:
        """The SHA-256 of the content, begun when it is first asked for."""
        return Hashing(self.data)

    @property
    def digest(self) -> str:
        """The SHA-256 of the content, in hex."""
        return self.hashing.hexdigest()


class OpenFile:
    """A file that was opened for reading; it stays the same file, whatever becomes of its name."""

    def __init__(self, directory: Directory, name: str, descriptor: int) -> None:
        self._directory, self._name, self._descriptor = directory, name, descriptor

    def look(self, offset: int = 0) -> ReadFile:
        """Return the file from an offset on. Raises DocumentRefused.

        The status is from before the content, so that a file that grows meanwhile shows as changed later.
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
        except OSError:  # nobody stamped it, or the file system has no room for stamps
            return None


class Directory:
    """An open directory; use it as a context manager."""

    def __init__(self, path: Path, descriptor: int, fs: FileSystem = OS, name: str = "") -> None:
        self.descriptor, self.fs = descriptor, fs
        self._above, self._name = path, name

    @property
    def path(self) -> Path:
        """Where it was opened; for messages, for it may have another name by now."""
        return self._above / self._name if self._name else self._above

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
        """Open a directory for writing; where it is missing, it and its parents are made, private."""
        try:
            directory = cls.open(path, fs)
        except FileNotFoundError:
            above = path.parent  # may well be reached through links: only what is ours is held to more
            with cls.open(above.resolve(), fs) if above.is_dir() else cls.make(above, fs) as parent:
                return parent.enter_or_make(path.name)
        return directory.claimed()

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(self.descriptor)

    def close(self, descriptor: int) -> None:
        """Close an open file. What was synced is on the disk, whatever the system says now."""
        try:
            self.fs.close(descriptor)
        except OSError as problem:
            logger.warning("closing a file in %s failed: %s", self.path, problem.strerror)

    def enter(self, name: str) -> Directory:
        """Open a directory in this one for reading."""
        try:
            descriptor = self.fs.open_directory(name, self.descriptor)
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise refused(self.path / name, problem) from problem
        return Directory(self.path, descriptor, self.fs, name)

    def enter_or_make(self, name: str) -> Directory:
        """Open a directory in this one for writing, made where it is missing."""
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
        """Return a file's bytes, or None where there is no such file. Raises DocumentRefused."""
        found = self.look(name)
        return None if found is None else found.data

    def look(self, name: str, offset: int = 0) -> ReadFile | None:
        """Return a file from an offset on, or None where there is no such file. Raises DocumentRefused."""
        with self.opened(name) as file:
            return None if file is None else file.look(offset)

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[OpenFile | None]:
        """Open a file for reading, None where there is no such file. Raises DocumentRefused."""
        try:
            descriptor = self.fs.open_for_reading(name, self.descriptor)
        except FileNotFoundError:
            yield None
            return
        except OSError as problem:
            raise refused(self.path / name, problem) from problem
        try:
            yield OpenFile(self, name, descriptor)
        finally:
            self.close(descriptor)

    def status_of(self, name: str) -> os.stat_result | None:
        """Return what is known of a file by its name, or None where there is none."""
        try:
            return self.fs.status_of(name, self.descriptor)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise refused(self.path / name, problem) from problem

    def move(self, name: str, to: Directory) -> None:
        """Move a file to another directory, under a name that nobody has there."""
        moment, taken = self.fs.nanoseconds(), set(to.names())
        while f"{moment}{name}" in taken:
            moment += 1
        self.fs.move(name, self.descriptor, f"{moment}{name}", to.descriptor)

    def put_aside(self, name: str, what: str, of: str) -> str:
        """Give a file the first name `OF.WHAT-<nanoseconds>` that nobody has, and return it."""
        return self.rename_to_free(name, self._asides(what, of))

    def rename_to_free(self, name: str, candidates: Iterable[str]) -> str:
        """Give a file or a directory the first of these names that nobody has, and return it."""
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
        """Write bytes, synced, under the first name `OF.WHAT-<nanoseconds>` that nobody has, and return it."""
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

    def write_all(self, descriptor: int, data: bytes) -> None:
        """Write to an open file until all of it is taken."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.fs.write(descriptor, rest) :]

    def _asides(self, what: str, of: str) -> Iterator[str]:
        moment = self.fs.nanoseconds()
        return (f"{of}.{what}-{moment + more}" for more in range(_MOST_TRIES))

    def sync(self) -> None:
        """Wait until the disk has the directory's entries."""
        self.fs.sync(self.descriptor)

    def names(self) -> list[str]:
        """Return the names of what lies in the directory. Raises DocumentRefused."""
        try:
            return self.fs.names(self.descriptor)
        except OSError as problem:
            raise refused(self.path, problem) from problem

    def claimed(self) -> Directory:
        """Return the directory, private and ours, to write in; one that is not is closed. Raises DocumentRefused."""
        try:
            self._claim()
        except BaseException:
            self.close(self.descriptor)
            raise
        return self

    def _claim(self) -> None:
        """Make the directory private, or refuse one that others can write to or that is somebody else's."""
        status = self.fs.status(self.descriptor)
        if status.st_uid != os.geteuid():
            raise DocumentRefused(f"{self.path} belongs to another user (id {status.st_uid}); run this as that user")
        if status.st_mode & _OPEN_TO_OTHERS:
            raise DocumentRefused(f"{self.path} can be written to by others; run: chmod go-w {self.path}")
        if stat.S_IMODE(status.st_mode) & ~_PRIVATE:
            self._narrow(status.st_mode & _PRIVATE)

    def _narrow(self, mode: int) -> None:
        """Make the directory private. Raises DocumentRefused where the system refuses that."""
        try:
            self.fs.narrow(self.descriptor, mode)
            is_narrow = stat.S_IMODE(self.fs.status(self.descriptor).st_mode) & ~_PRIVATE == 0
        except OSError as problem:
            raise refused(self.path, problem, "made private") from problem
        if is_narrow:
            logger.warning("made %s private", self.path)
        else:
            logger.warning("%s can be read by others: its file system keeps no permissions", self.path)


def numbered(stem: str, end: str = "") -> Iterator[str]:
    """Yield a name, and then the same with the numbers 2, 3 and so on."""
    return chain([f"{stem}{end}"], (f"{stem}-{number}{end}" for number in count(2)))
