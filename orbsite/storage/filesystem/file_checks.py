"""Checks that files are plain, and the messages for system errors with files."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Protocol

from orbsite.storage.errors import DocumentRefused


class Place(Protocol):
    """A directory that has a path."""

    @property
    def path(self) -> Path:
        """The directory's path, used in error messages only."""


def refuse_unless_plain(status: os.stat_result, directory: Place, name: str) -> None:
    """Raise DocumentRefused if a status is not of a regular file, or of a file with a hard link."""
    if not stat.S_ISREG(status.st_mode):
        kind = _kind(status.st_mode)
        raise DocumentRefused(f"{directory.path / name} is not a regular file but {kind}; put a plain file there")
    if status.st_nlink > 1:
        raise DocumentRefused(f"{directory.path / name} has a second name (a hard link); put a copy there instead")


def refused(path: Path, problem: OSError, what: str = "opened") -> DocumentRefused:
    """Return the error for a file or directory that could not be opened, or could not be `what`, such as "made"."""
    is_link = False
    with contextlib.suppress(OSError):  # a directory of the path cannot be read, so it is unknown
        is_link = path.is_symlink()
    if is_link:
        return DocumentRefused(f"{path} is a symbolic link; put the real file or directory there")
    return DocumentRefused(f"{path} {_answer(problem, what)}")


def explained_by_system(problem: OSError, what: str = "used") -> str:
    """Return the message for an untranslated system error: which file, the cause, and what to do next."""
    name = problem.filename if isinstance(problem.filename, str | bytes) else None
    place = os.fsdecode(name).encode(errors="backslashreplace").decode() if name else "a file or a connection"
    return f"{place} {_answer(problem, what)}"


def remedy(problem: OSError) -> str:
    """Return what a user can do about a system error."""
    return _REMEDIES.get(problem.errno or 0, "fix the cause, then run it again")


def _answer(problem: OSError, what: str) -> str:
    if problem.errno in (errno.EACCES, errno.EPERM):
        return f"may not be {what}: permission denied; {_REMEDIES[errno.EACCES]}"
    return f"cannot be {what}: {problem.strerror or type(problem).__name__}; {remedy(problem)}"


_REMEDIES = {
    errno.EACCES: "run this as the user that owns it",
    errno.EPERM: "run this as the user that owns it",
    errno.EROFS: "mount the file system for writing, or name another directory, then run it again",
    errno.ENOSPC: "make room on the disk, then run it again: it continues where it stopped",
    errno.EDQUOT: "make room within the quota, then run it again: it continues where it stopped",
    errno.EMFILE: "raise the limit of open files (ulimit -n), then run it again",
    errno.ENOTDIR: "put a directory there, or name another one",
    errno.ENOENT: "create its directory first, or check the path",
    errno.EIO: "check the disk, then run it again",
}


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}
    return kinds.get(stat.S_IFMT(mode), "a device")
