"""What is no plain file of ours, and how to say so."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Protocol

from orbsite.storage.errors import DocumentRefused


class Place(Protocol):
    """A directory, which knows where it is."""

    @property
    def path(self) -> Path:
        """Where it is; told only when somebody has to be told."""


def refuse_unless_plain(status: os.stat_result, directory: Place, name: str) -> None:
    """Raise DocumentRefused for what is no regular file, or has a second name."""
    if not stat.S_ISREG(status.st_mode):
        kind = _kind(status.st_mode)
        raise DocumentRefused(f"{directory.path / name} is no regular file but {kind}; put a plain file there")
    if status.st_nlink > 1:
        raise DocumentRefused(f"{directory.path / name} has a second name (a hard link); put a copy there instead")


def refused(path: Path, problem: OSError, what: str = "opened") -> DocumentRefused:
    """Return what to say of a file or directory that the system does not open, or not make."""
    is_link = False
    with contextlib.suppress(OSError):  # where the path leads through what may not be read, nobody can tell
        is_link = path.is_symlink()
    if is_link:
        return DocumentRefused(f"{path} is a symbolic link; put the real file or directory there")
    if problem.errno in (errno.EACCES, errno.EPERM):
        return DocumentRefused(f"{path} may not be {what}: permission denied; run this as the user that owns it")
    return DocumentRefused(f"{path} cannot be {what}: {problem.strerror}")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}
    return kinds.get(stat.S_IFMT(mode), "a device")
