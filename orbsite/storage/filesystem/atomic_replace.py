"""Replacing a file as a whole, durably: the one way in which every document is written.

Written beside its target, synced, swapped with it, and the directory synced. What was swapped out is looked at: the
content that the caller has read becomes `NAME.prev`, the last good generation; anything else is what somebody wrote in
between, and is kept as `NAME.conflict-<nanoseconds>`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from orbsite.storage.errors import DocumentRefused, SaveFailed, SaveOutcomeUnknown
from orbsite.storage.filesystem.background_hash import Hashing
from orbsite.storage.filesystem.directory import NO_RENAMEAT2, Directory
from orbsite.storage.filesystem.file_checks import remedy

logger = logging.getLogger(__name__)


def replace(directory: Directory, name: str, data: bytes, base: str | None) -> None:
    """Replace a file's content, whose SHA-256 is `base`, None where there is no file; then it survives a power cut.

    Raises SaveFailed, and the old content is whole; or SaveOutcomeUnknown, and the new content is there but may not
    survive a power cut.
    """
    with prepared(directory, name, data) as successor:
        successor.swap(base)


@contextlib.contextmanager
def prepared(directory: Directory, name: str, data: bytes) -> Iterator[Successor]:
    """Write a file's next content beside it and sync it: that takes long, and changes nothing. Raises SaveFailed."""
    temporary = temporary_name(name)
    with failing_whole(directory.path / name):
        descriptor = directory.fs.create(temporary, directory.descriptor)
    successor = Successor(directory, name, temporary, descriptor)
    try:
        with failing_whole(directory.path / name):
            successor.digest = _fill(directory, descriptor, data)
        yield successor
    finally:
        directory.close(descriptor)
        if not successor.swapped:
            forget(directory, temporary)


class Successor:
    """A file's next content, synced under a temporary name."""

    def __init__(self, directory: Directory, name: str, temporary: str, descriptor: int) -> None:
        self.digest = ""
        self.swapped = False
        self._directory, self._name, self._temporary, self._descriptor = directory, name, temporary, descriptor

    def take_over(self) -> None:
        """Put it in the place of the old content, which the caller has kept elsewhere. Raises as `swap` does."""
        directory = self._directory
        with self._swapping():
            directory.fs.rename(self._temporary, self._name, directory.descriptor)
        self._confirm(lambda: None)

    def swap(self, base: str | None) -> os.stat_result:
        """Put it in the place of the old content, and return what it looks like there; see `replace`."""
        directory, name = self._directory, self._name
        with self._swapping():
            old = _swap(directory, self._temporary, name, exists=base is not None)
        return self._confirm(lambda: _put_aside(directory, old, name, base) if old else None)

    @contextlib.contextmanager
    def _swapping(self) -> Iterator[None]:
        """Raise SaveFailed for errors of the system. What was swapped out already is never thrown away."""
        self.swapped = True
        with failing_whole(self._directory.path / self._name):
            try:
                yield
            except BaseException:
                self.swapped = self._is_in_place()
                raise

    def _is_in_place(self) -> bool:
        ours = self._directory.fs.status(self._descriptor)
        there = self._directory.status_of(self._name)
        return there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _confirm(self, first: Callable[[], None]) -> os.stat_result:
        """Sync the directory, and return what the file looked like in its place before that."""
        directory = self._directory
        try:
            status = directory.fs.status(self._descriptor)
            first()
            directory.fs.sync(directory.descriptor)
        except OSError as problem:
            raise SaveOutcomeUnknown(
                f"{directory.path / self._name} was replaced, but the disk did not confirm it: {problem.strerror}; "
                "check the disk, and read the file again before you retry"
            ) from problem
        return status


@contextlib.contextmanager
def failing_whole(path: Path) -> Iterator[None]:
    """Turn an error of the system into SaveFailed: so far nothing was changed."""
    try:
        yield
    except OSError as problem:
        raise SaveFailed(
            f"{path} was not saved, and is as it was: {problem.strerror or problem}; {remedy(problem)}"
        ) from problem


def digest_of(data: bytes | None) -> str | None:
    """Return the SHA-256, in hex, of a file's bytes, or None for no file."""
    return None if data is None else hashlib.sha256(data).hexdigest()


def temporary_name(name: str) -> str:
    """Return a name that nobody has, for a file on its way to another name."""
    return f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"


def _fill(directory: Directory, descriptor: int, data: bytes) -> str:
    fs, hashing = directory.fs, Hashing(data)
    directory.write_all(descriptor, data)
    digest = hashing.hexdigest()
    if fs.status(descriptor).st_size != len(data):
        raise OSError(errno.EIO, "the file has another size than what was written")
    with contextlib.suppress(OSError):  # not every file system has room for stamps
        fs.stamp(descriptor, digest.encode())
    fs.sync(descriptor)
    return digest


def forget(directory: Directory, temporary: str) -> None:
    """Remove a temporary file, where that can be done; else the next clean-up takes it."""
    with contextlib.suppress(OSError):
        directory.fs.unlink(temporary, directory.descriptor)


def _swap(directory: Directory, temporary: str, name: str, *, exists: bool) -> str | None:
    """Bring the new file to its name, and return the name under which the old one is now, None where there is none."""
    fs, within = directory.fs, directory.descriptor
    for _ in range(3):  # a file may come and go between two calls, but not for ever
        try:
            if exists:
                fs.exchange(temporary, name, within)
            else:
                fs.rename_to_free(temporary, name, within)
        except FileNotFoundError:
            exists = False
        except FileExistsError:
            exists = True
        except OSError as problem:
            if problem.errno not in NO_RENAMEAT2:
                raise
            return _swap_by_copy(directory, temporary, name)
        else:
            return temporary if exists else None
    raise OSError(errno.EBUSY, "another program makes and removes the file all the time")


def _swap_by_copy(directory: Directory, temporary: str, name: str) -> str | None:
    """Do the same where the system cannot exchange names: what comes between the two calls is lost to us."""
    fs, within = directory.fs, directory.descriptor
    old = directory.look(name)
    if old is None:
        fs.rename(temporary, name, within)
        return None
    kept = temporary_name(name)
    try:
        descriptor = fs.create(kept, within)
        try:
            directory.write_all(descriptor, old.data)
            fs.sync(descriptor)
        finally:
            directory.close(descriptor)
        fs.rename(temporary, name, within)
    except OSError:
        forget(directory, kept)
        raise
    return kept


def _put_aside(directory: Directory, temporary: str, name: str, base: str | None) -> None:
    fs, within, previous = directory.fs, directory.descriptor, f"{name}.prev"
    with contextlib.suppress(DocumentRefused):  # somebody put a link or the like in the place: kept as well
        if digest_of(directory.read(temporary)) == base:
            kept = directory.look(previous)
            if kept is not None and kept.stamp not in (None, kept.digest):
                _keep_conflict(directory, previous, name)  # an editor that had it open when it was the document
            fs.rename(temporary, previous, within)
            return
    _keep_conflict(directory, temporary, name)


def _keep_conflict(directory: Directory, kept: str, name: str) -> None:
    aside = directory.put_aside(kept, "conflict", of=name)
    logger.warning(
        "%s was written by somebody else meanwhile; that content is kept as %s", directory.path / name, aside
    )
