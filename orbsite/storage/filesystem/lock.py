"""Locks for one writer at a time: a lock file for each document, locked by flock, and never unlinked or renamed.

The kernel releases the lock when its holder dies, so there are no stale locks. The file's content is only a hint to
users about the holder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from orbsite.storage.errors import DocumentRefused, LockTimeout
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.file_checks import refuse_unless_plain, refused
from orbsite.storage.filesystem.syscalls import FileSystem

_threads: dict[tuple[int, int, str], threading.Lock] = {}
_threads_lock = threading.Lock()
_held: set[int] = set()
"""The descriptors of held lock files, which a forked child has to close."""


@contextlib.contextmanager
def locked(directory: Directory, name: str, timeout: float) -> Iterator[None]:
    """Hold the lock of a file against other threads and processes; wait for it for at most `timeout` seconds.

    Raises LockTimeout, which names the holder.
    """
    deadline = time.monotonic() + timeout
    lock = f".{name}.lock"
    with _thread_lock(directory, lock, timeout):
        try:
            descriptor = directory.fs.open_lock(lock, directory.descriptor)
        except OSError as problem:
            raise refused(directory.path / lock, problem) from problem
        _held.add(descriptor)
        try:
            refuse_unless_plain(directory.fs.status(descriptor), directory, lock)
            _acquire(directory, descriptor, lock, deadline)
            yield
        finally:
            with contextlib.suppress(OSError):  # closing releases it too, unless a forked child has the descriptor
                directory.fs.unlock(descriptor)
            _held.discard(descriptor)
            directory.close(descriptor)


@contextlib.contextmanager
def locked_beside(path: Path, suffix: str) -> Iterator[None]:
    """Hold a private lock file beside a file that other programs use too, such as a database, without waiting.

    If root creates it, it gets the owner of that file. Raises BlockingIOError if the lock is held, and OSError if the
    lock file cannot be opened or is not a regular file.
    """
    descriptor = _opened(f"{path}{suffix}", path.stat())
    _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing releases it too, unless a forked child has the descriptor
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _opened(path: str, beside: os.stat_result) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise OSError(errno.EINVAL, "it is not a plain file")
        if os.geteuid() == 0 and status.st_uid != beside.st_uid:
            os.fchown(descriptor, beside.st_uid, beside.st_gid)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def _thread_lock(directory: Directory, name: str, timeout: float) -> Iterator[None]:
    with _threads_lock:
        lock = _threads.setdefault((*directory.identity, name), threading.Lock())
    is_ours = False
    try:
        is_ours = lock.acquire(timeout=timeout)
        if not is_ours:
            raise LockTimeout(f"{directory.path / name} is held by another thread of this process; try again later")
        yield
    finally:
        if is_ours:
            lock.release()


def _acquire(directory: Directory, descriptor: int, name: str, deadline: float) -> None:
    try:
        try:
            directory.fs.lock(descriptor)
        except BlockingIOError:
            _QueuedLock(directory.fs, descriptor).wait(deadline)
    except BlockingIOError as problem:
        holder = directory.fs.read_hint(descriptor).decode(errors="replace").strip()
        raise LockTimeout(
            f"{directory.path / name} is held by {holder or 'another process'}; "
            "wait for it to end, or stop it, then try again"
        ) from problem
    except OSError as problem:
        raise DocumentRefused(
            f"{directory.path / name} cannot be locked: {problem.strerror}; "
            "keep the data directory on a local disk, where locks work"
        ) from problem
    with contextlib.suppress(OSError):  # the lock is held even if a full disk has no room for the hint
        directory.fs.leave_hint(descriptor, _hint(os.getpid(), int(time.time())))


class _QueuedLock:
    """Waits for a lock by the kernel's call, because a process that polls may wait for ever while others save.

    The call has no deadline. Therefore a thread makes it, which releases the lock if it gets it after the deadline.
    """

    def __init__(self, fs: FileSystem, descriptor: int) -> None:
        self._fs = fs
        self._descriptor = fs.duplicate(descriptor)  # the thread may need it for longer than the caller
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._is_given_up = False
        self._problem: OSError | None = None
        _held.add(self._descriptor)

    def wait(self, deadline: float) -> None:
        """Return when the descriptor has the lock. Raises BlockingIOError at the deadline, and OSError."""
        try:
            threading.Thread(target=self._lock, name="lock", daemon=True).start()
        except RuntimeError as problem:  # no more threads can be started
            self._close()
            raise BlockingIOError(errno.EAGAIN, "no thread can wait for the lock") from problem
        try:
            self._ended.wait(max(0.0, deadline - time.monotonic()))
        finally:  # for an interruption too
            with self._guard:
                self._is_given_up = not self._ended.is_set()
        if self._is_given_up:
            raise BlockingIOError(errno.EWOULDBLOCK, "another process holds the lock")
        if self._problem is not None:
            raise self._problem

    def _lock(self) -> None:
        try:
            self._fs.wait_for_lock(self._descriptor)
        except OSError as problem:
            self._problem = problem
        with self._guard:
            self._ended.set()
            if self._is_given_up and self._problem is None:
                self._fs.unlock(self._descriptor)
        self._close()

    def _close(self) -> None:
        _held.discard(self._descriptor)
        self._fs.close(self._descriptor)


@functools.lru_cache(maxsize=1)
def _hint(pid: int, second: int) -> bytes:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
    return f"process {pid} on {socket.gethostname()} since {since}".encode()


def _reset_in_child() -> None:
    """Give a forked child new locks, because its parent's locks would never be released in it."""
    global _threads_lock  # noqa: PLW0603 -- a thread that the child does not have may have held it
    _threads_lock = threading.Lock()
    _threads.clear()
    for descriptor in _held:
        with contextlib.suppress(OSError):  # closing keeps the parent's lock; unlocking would release it
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_reset_in_child)
