"""A directory of ours, held by descriptor, so that nobody can swap it for another while we work in it.

Files are private (0600, in directories of 0700) and plain: links, pipes and devices are refused. A file is replaced
as a whole or not at all: written beside its target, synced, renamed over it, and the directory synced.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from orbsite.storage.errors import DocumentRefused, LockTimeout, SaveFailed, SaveOutcomeUnknown

logger = logging.getLogger(__name__)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_TO_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_PRIVATE = 0o700
_LONGEST_PAUSE = 0.05

_threads: dict[tuple[int, int, str], threading.RLock] = {}
_threads_lock = threading.Lock()


class Directory:
    """An open directory; use it as a context manager."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> Directory:
        """Open a directory for reading; nothing is created. Raises FileNotFoundError and DocumentRefused."""
        return cls(path, _open_directory(path, None, path))

    @classmethod
    def make(cls, path: Path) -> Directory:
        """Open a directory for writing; where it is missing, it and its parents are made, private."""
        if not path.parent.is_dir():
            with cls.make(path.parent):
                pass
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
            _sync_directory(path.parent)
        directory = cls.open(path)
        directory._claim()
        return directory

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def enter(self, name: str) -> Directory:
        """Open a directory in this one for reading."""
        return Directory(self.path / name, _open_directory(name, self._descriptor, self.path / name))

    def enter_or_make(self, name: str) -> Directory:
        """Open a directory in this one for writing, made where it is missing."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=self._descriptor)
            os.fsync(self._descriptor)
        directory = self.enter(name)
        directory._claim()
        return directory

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None where there is no such file. Raises DocumentRefused."""
        try:
            descriptor = os.open(name, _READ, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise _refused(self.path / name, problem) from problem
        try:
            _refuse_unless_plain(os.fstat(descriptor), self.path / name)
            with open(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)

    def replace(self, name: str, data: bytes) -> None:
        """Replace a file as a whole: after this returns, the new content survives a power cut.

        Raises SaveFailed, and the old content is whole; or SaveOutcomeUnknown, and the new content is there but may not
        survive a power cut.
        """
        temporary = f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
        try:
            self._write(temporary, data)
            os.rename(temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except OSError as problem:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self._descriptor)
            raise SaveFailed(
                f"{self.path / name} was not saved, and is as it was: {problem.strerror}; mend that, then save again"
            ) from problem
        try:
            os.fsync(self._descriptor)
        except OSError as problem:
            raise SaveOutcomeUnknown(
                f"{self.path / name} was replaced, but the disk did not confirm it: {problem.strerror}; "
                "check the disk, and read the file again before you retry"
            ) from problem

    @contextlib.contextmanager
    def locked(self, name: str, timeout: float) -> Iterator[None]:
        """Hold the lock of a file of that name against other threads and processes.

        The kernel frees the lock when its holder dies, so there are no stale ones. Raises LockTimeout after `timeout`
        seconds.
        """
        deadline = time.monotonic() + timeout
        lock = f".{name}.lock"
        with self._thread_lock(lock, timeout):
            try:
                descriptor = os.open(lock, _LOCK, 0o600, dir_fd=self._descriptor)
            except OSError as problem:
                raise _refused(self.path / lock, problem) from problem
            try:
                _refuse_unless_plain(os.fstat(descriptor), self.path / lock)
                self._acquire(descriptor, lock, deadline)
                yield
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            finally:
                os.close(descriptor)

    def _claim(self) -> None:
        """Make the directory private, or refuse one that others can write to or that is somebody else's."""
        status = os.fstat(self._descriptor)
        if status.st_uid != os.geteuid():
            raise DocumentRefused(f"{self.path} belongs to another user (id {status.st_uid}); run this as that user")
        if status.st_mode & _OPEN_TO_OTHERS:
            raise DocumentRefused(f"{self.path} can be written to by others; run: chmod go-w {self.path}")
        if stat.S_IMODE(status.st_mode) != _PRIVATE:
            logger.warning("made %s private (mode 0700)", self.path)
            os.fchmod(self._descriptor, _PRIVATE)

    def _write(self, name: str, data: bytes) -> None:
        descriptor = os.open(name, _CREATE, 0o600, dir_fd=self._descriptor)
        try:
            os.fchmod(descriptor, 0o600)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if os.fstat(descriptor).st_size != len(data):
                raise OSError(errno.EIO, "the file has another size than what was written")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _thread_lock(self, name: str, timeout: float) -> Iterator[None]:
        status = os.fstat(self._descriptor)
        with _threads_lock:
            lock = _threads.setdefault((status.st_dev, status.st_ino, name), threading.RLock())
        if not lock.acquire(timeout=timeout):
            raise LockTimeout(f"{self.path / name} is held by another thread of this process; try again later")
        try:
            yield
        finally:
            lock.release()

    def _acquire(self, descriptor: int, name: str, deadline: float) -> None:
        pause = 0.001
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as problem:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
                    raise LockTimeout(
                        f"{self.path / name} is held by {holder or 'another process'}; "
                        "wait for it to end, or stop it, then try again"
                    ) from problem
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        hint = f"process {os.getpid()} on {socket.gethostname()} since {since}"
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, hint.encode(), 0)


def _open_directory(name: str | Path, within: int | None, path: Path) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=within)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise _refused(path, problem) from problem


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_unless_plain(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DocumentRefused(f"{path} is no regular file but {_kind(status.st_mode)}; put a plain file there")
    if status.st_nlink > 1:
        raise DocumentRefused(f"{path} has a second name (a hard link); put a copy there instead")


def _refused(path: Path, problem: OSError) -> DocumentRefused:
    if path.is_symlink():
        return DocumentRefused(f"{path} is a symbolic link; put the real file or directory there")
    if problem.errno in (errno.EACCES, errno.EPERM):
        return DocumentRefused(f"{path} may not be opened: permission denied; run this as the user that owns it")
    return DocumentRefused(f"{path} cannot be opened: {problem.strerror}")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}
    return kinds.get(stat.S_IFMT(mode), "a device")
