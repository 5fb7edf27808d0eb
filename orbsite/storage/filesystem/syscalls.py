"""The system calls for every file that a store reads and writes. Tests replace this layer to inject faults.

All names are relative to an open directory. Errors are OSError, as the system raises them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

_NOREPLACE, _EXCHANGE = 1, 2  # renameat2(2)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PRIVATE_FILE, _PRIVATE_DIRECTORY = 0o600, 0o700
_HINT_LENGTH = 200
_LEAST_READ = 1024
"""The number of bytes to ask for beyond what a file had, which may have grown."""
_STAMP = "user.orb"


class FileSystem:
    """The system calls of the real file system."""

    def open_directory(self, name: str | Path, within: int | None = None) -> int:
        """Open a directory; a symbolic link is refused."""
        return os.open(name, _DIRECTORY, dir_fd=within)

    def make_directory(self, name: str | Path, within: int | None = None) -> None:
        """Create a directory with mode 0700."""
        os.mkdir(name, _PRIVATE_DIRECTORY, dir_fd=within)

    def open_for_reading(self, name: str, within: int) -> int:
        """Open a file for reading; a symbolic link is refused, and a pipe does not block."""
        return os.open(name, _READ, dir_fd=within)

    def create(self, name: str, within: int) -> int:
        """Create a file with mode 0600, whatever the umask. Raises FileExistsError if the name is taken."""
        descriptor = os.open(name, _CREATE, _PRIVATE_FILE, dir_fd=within)
        try:
            os.fchmod(descriptor, _PRIVATE_FILE)
        except OSError:
            os.close(descriptor)
            os.unlink(name, dir_fd=within)
            raise
        return descriptor

    def open_for_appending(self, name: str, within: int) -> int:
        """Open an existing file for writing at its end."""
        return os.open(name, _APPEND, dir_fd=within)

    def open_lock(self, name: str, within: int) -> int:
        """Open a lock file; it is created if it is missing."""
        return os.open(name, _LOCK, _PRIVATE_FILE, dir_fd=within)

    def read(self, descriptor: int, offset: int = 0) -> bytes:
        """Return the content of an open file from an offset to its end."""
        pieces = list[bytes]()
        rest = os.fstat(descriptor).st_size - offset
        while piece := os.pread(descriptor, max(rest, _LEAST_READ), offset):
            pieces.append(piece)
            offset, rest = offset + len(piece), rest - len(piece)
        return b"".join(pieces)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of the data, and return how many bytes were written."""
        return os.write(descriptor, data)

    def status(self, descriptor: int) -> os.stat_result:
        """Return the status of an open file or directory."""
        return os.fstat(descriptor)

    def status_of(self, name: str, within: int) -> os.stat_result:
        """Return the status of a file by its name; links are not followed."""
        return os.stat(name, dir_fd=within, follow_symlinks=False)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut an open file to a size in bytes."""
        os.ftruncate(descriptor, size)

    def stamp(self, descriptor: int, value: bytes) -> None:
        """Set the stamp of an open file, an extended attribute that stays with the file when it is renamed."""
        os.setxattr(descriptor, _STAMP, value)

    def read_stamp(self, descriptor: int) -> bytes:
        """Return the stamp of an open file. Raises OSError if it has none."""
        return os.getxattr(descriptor, _STAMP)

    def sync(self, descriptor: int) -> None:
        """Wait until an open file or directory is on the disk."""
        os.fsync(descriptor)

    def sync_data(self, descriptor: int) -> None:
        """Wait until an open file's content and size are on the disk."""
        getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has no fdatasync

    def close(self, descriptor: int) -> None:
        """Close an open file or directory."""
        os.close(descriptor)

    def narrow(self, descriptor: int, mode: int) -> None:
        """Set the mode of an open file or directory, to remove permissions."""
        os.fchmod(descriptor, mode)

    def rename(self, old: str, new: str, within: int) -> None:
        """Rename a file; a file with the new name is replaced."""
        os.rename(old, new, src_dir_fd=within, dst_dir_fd=within)

    def move(self, old: str, within: int, new: str, to: int) -> None:
        """Rename a file into another directory."""
        os.rename(old, new, src_dir_fd=within, dst_dir_fd=to)

    def rename_to_free(self, old: str, new: str, within: int) -> None:
        """Rename a file. Raises FileExistsError if the new name is taken."""
        _renameat2(old, new, within, _NOREPLACE)

    def exchange(self, one: str, other: str, within: int) -> None:
        """Exchange the names of two files atomically. Raises FileNotFoundError if one is missing."""
        _renameat2(one, other, within, _EXCHANGE)

    def link(self, old: str, new: str, within: int) -> None:
        """Give a file a second name (a hard link)."""
        os.link(old, new, src_dir_fd=within, dst_dir_fd=within, follow_symlinks=False)

    def unlink(self, name: str, within: int) -> None:
        """Remove a file's name from the directory."""
        os.unlink(name, dir_fd=within)

    def remove_directory(self, name: str, within: int) -> None:
        """Remove an empty directory."""
        os.rmdir(name, dir_fd=within)

    def names(self, descriptor: int) -> list[str]:
        """Return the names in an open directory."""
        return os.listdir(descriptor)

    def lock(self, descriptor: int) -> None:
        """Take an exclusive flock. Raises BlockingIOError if another process or descriptor holds it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def wait_for_lock(self, descriptor: int) -> None:
        """Take an exclusive flock, and wait until it is free; of several who wait, the kernel chooses one."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def duplicate(self, descriptor: int) -> int:
        """Return a second descriptor of an open file, which has the same lock."""
        return os.dup(descriptor)

    def unlock(self, descriptor: int) -> None:
        """Release the flock of an open file."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def leave_hint(self, descriptor: int, hint: bytes) -> None:
        """Write the holder into a lock file, padded to 200 bytes, so that the file's size never changes."""
        os.pwrite(descriptor, hint.ljust(_HINT_LENGTH), 0)

    def read_hint(self, descriptor: int) -> bytes:
        """Return the holder that is written in a lock file; it may be empty or outdated."""
        return os.pread(descriptor, _HINT_LENGTH, 0)

    def nanoseconds(self) -> int:
        """Return the time in nanoseconds since the epoch, for unique names."""
        return time.time_ns()


OS = FileSystem()


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _renameat2(old: str, new: str, within: int, flags: int) -> None:
    call = getattr(_libc(), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(within, os.fsencode(old), within, os.fsencode(new), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), old, None, new)
