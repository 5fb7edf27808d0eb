"""A directory of ours, held by descriptor, so that nobody can swap it for another while we work in it.

Files are private (0600, in directories of 0700) and plain: links, pipes and devices are refused.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from orbsite.storage.errors import DocumentRefused
from orbsite.storage.fsops import OS, FileSystem

logger = logging.getLogger(__name__)

_OPEN_TO_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was read."""

    data: bytes
    status: os.stat_result
    stamp: str | None
    """The SHA-256 that whoever of us wrote it left on it, and that stays on it when others change the content."""


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
        directory._claim()
        return directory

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.fs.close(self.descriptor)

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
        directory._claim()
        return directory

    def _make(self, name: str) -> None:
        try:
            with contextlib.suppress(FileExistsError):
                self.fs.make_directory(name, self.descriptor)
                self.fs.sync(self.descriptor)
        except OSError as problem:
            raise refused(self.path / name, problem) from problem

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None where there is no such file. Raises DocumentRefused."""
        found = self.look(name)
        return None if found is None else found.data

    def look(self, name: str, offset: int = 0) -> Found | None:
        """Return a file from an offset on, or None where there is no such file. Raises DocumentRefused.

        The status is from before the content, so that a file that grows meanwhile shows as changed later.
        """
        try:
            descriptor = self.fs.open_for_reading(name, self.descriptor)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise refused(self.path / name, problem) from problem
        try:
            status = self.fs.status(descriptor)
            refuse_unless_plain(status, self, name)
            return Found(self.fs.read(descriptor, offset), status, self._stamp_of(descriptor))
        except OSError as problem:
            raise refused(self.path / name, problem) from problem
        finally:
            self.fs.close(descriptor)

    def status_of(self, name: str) -> os.stat_result | None:
        """Return what is known of a file by its name, or None where there is none."""
        try:
            return self.fs.status_of(name, self.descriptor)
        except FileNotFoundError:
            return None

    def _stamp_of(self, descriptor: int) -> str | None:
        try:
            return self.fs.read_stamp(descriptor).decode("ascii", "replace")
        except OSError:  # nobody stamped it, or the file system has no room for stamps
            return None

    def move(self, name: str, to: Directory, new: str) -> None:
        """Give a file another name in another directory."""
        self.fs.move(name, self.descriptor, new, to.descriptor)

    def sync(self) -> None:
        """Wait until the disk has the directory's entries."""
        self.fs.sync(self.descriptor)

    def names(self) -> list[str]:
        """Return the names of what lies in the directory."""
        return self.fs.names(self.descriptor)

    def _claim(self) -> None:
        """Make the directory private, or refuse one that others can write to or that is somebody else's."""
        status = self.fs.status(self.descriptor)
        if status.st_uid != os.geteuid():
            raise DocumentRefused(f"{self.path} belongs to another user (id {status.st_uid}); run this as that user")
        if status.st_mode & _OPEN_TO_OTHERS:
            raise DocumentRefused(f"{self.path} can be written to by others; run: chmod go-w {self.path}")
        if stat.S_IMODE(status.st_mode) != _PRIVATE:
            logger.warning("made %s private (mode 0700)", self.path)
            self.fs.narrow(self.descriptor)


def refuse_unless_plain(status: os.stat_result, directory: Directory, name: str) -> None:
    """Raise DocumentRefused for what is no regular file, or has a second name."""
    if not stat.S_ISREG(status.st_mode):
        kind = _kind(status.st_mode)
        raise DocumentRefused(f"{directory.path / name} is no regular file but {kind}; put a plain file there")
    if status.st_nlink > 1:
        raise DocumentRefused(f"{directory.path / name} has a second name (a hard link); put a copy there instead")


def refused(path: Path, problem: OSError) -> DocumentRefused:
    """Return what to say of a file or directory that the system does not open."""
    is_link = False
    with contextlib.suppress(OSError):  # where the path leads through what may not be read, nobody can tell
        is_link = path.is_symlink()
    if is_link:
        return DocumentRefused(f"{path} is a symbolic link; put the real file or directory there")
    if problem.errno in (errno.EACCES, errno.EPERM):
        return DocumentRefused(f"{path} may not be opened: permission denied; run this as the user that owns it")
    return DocumentRefused(f"{path} cannot be opened: {problem.strerror}")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}
    return kinds.get(stat.S_IFMT(mode), "a device")
