"""Atomic and durable replacement of a file. Every document is written this way.

The new content is written beside the file, synced and swapped with it, and the directory is synced. Then the old
content is read: if the caller knew it, it becomes `NAME.prev`, the last good generation. If another program wrote it
in between, it is kept as `NAME.conflict-<nanoseconds>`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orbsite.storage.errors import DocumentRefused, SaveFailed, SaveOutcomeUnknown
from orbsite.storage.filesystem.background_hash import Hashing
from orbsite.storage.filesystem.directory import NO_RENAMEAT2, Directory
from orbsite.storage.filesystem.file_checks import remedy
from orbsite.storage.filesystem.stat_signature import StatSignature

logger = logging.getLogger(__name__)

_AT_ONCE = 4 << 20
"""The number of bytes that are written before they are synced."""


def replace(directory: Directory, name: str, data: bytes, base: str | None) -> None:
    """Replace a file's content, whose SHA-256 is `base`, None if there is no file; the result survives a power cut.

    Raises SaveFailed if the old content is intact, and SaveOutcomeUnknown if the new content is in place but may not
    survive a power cut.
    """
    with prepared(directory, name, data) as successor:
        successor.swap(base)


@contextlib.contextmanager
def prepared(directory: Directory, name: str, data: bytes) -> Iterator[Successor]:
    """Write a file's new content beside it and sync it, which is slow and changes nothing. Raises SaveFailed."""
    with reserved(directory, name) as successor:
        successor.fill(data)
        yield successor


@contextlib.contextmanager
def reserved(directory: Directory, name: str, *, is_held: bool = False) -> Iterator[Successor]:
    """Create an empty file for a file's new content beside it. Raises SaveFailed.

    With `is_held`, a lock on it shows other processes that it is in use, so that the lock of `name` is not needed.
    """
    temporary = temporary_name(name)
    with failing_whole(directory.path / name):
        descriptor = directory.fs.create(temporary, directory.descriptor)
    successor = Successor(directory, name, temporary, descriptor)
    try:
        if is_held:
            with failing_whole(directory.path / name):
                directory.fs.lock(descriptor)
        yield successor
    finally:
        directory.close(descriptor)
        if not successor.swapped:
            forget(directory, temporary)


@dataclass(frozen=True)
class Checked:
    """The signatures of files whose content was checked before a swap, so that it need not read them again."""

    current: StatSignature | None
    """Of the file with the name, which has the content that the caller knows."""
    previous: StatSignature | None
    """Of `NAME.prev`, which has the bytes of its stamp."""


_UNCHECKED = Checked(None, None)


def checked(directory: Directory, name: str) -> Checked:
    """Read `NAME.prev`, and return what a swap needs to know of it."""
    taken = directory.fs.nanoseconds()
    with contextlib.suppress(DocumentRefused):
        kept = directory.look(f"{name}.prev")
        if kept is not None and kept.stamp in (None, kept.digest):
            return Checked(None, StatSignature.of(kept.status, taken))
    return _UNCHECKED


class Successor:
    """A file's new content, synced under a temporary name."""

    def __init__(self, directory: Directory, name: str, temporary: str, descriptor: int) -> None:
        self.digest = ""
        self.swapped = False
        self._directory, self._name, self._temporary, self._descriptor = directory, name, temporary, descriptor

    def fill(self, data: bytes) -> None:
        """Write and sync the new content, and set its digest. Raises SaveFailed."""
        with failing_whole(self._directory.path / self._name):
            self.digest = _fill(self._directory, self._descriptor, data)

    def append(self, data: bytes) -> None:
        """Write more behind the new content, and sync it; the digest stays. Raises SaveFailed."""
        with failing_whole(self._directory.path / self._name):
            self._directory.write_all(self._descriptor, data)
            self._directory.fs.sync(self._descriptor)

    def status(self) -> os.stat_result:
        """Return the status of the new file. Raises SaveFailed."""
        with failing_whole(self._directory.path / self._name):
            return self._directory.fs.status(self._descriptor)

    def take_over(self) -> None:
        """Replace the old content, which the caller has kept elsewhere. Raises the errors of `swap`."""
        directory = self._directory
        with self._swapping():
            directory.fs.rename(self._temporary, self._name, directory.descriptor)
        self._confirm(lambda: None)

    def swap(self, base: str | None, known: Checked = _UNCHECKED) -> os.stat_result:
        """Replace the old content, and return the file's new status. Keeps the old content and raises as `replace`."""
        directory, name = self._directory, self._name
        with self._swapping():
            old = _swap(directory, self._temporary, name, exists=base is not None)
        return self._confirm(lambda: _put_aside(directory, old, name, base, known) if old else None)

    @contextlib.contextmanager
    def _swapping(self) -> Iterator[None]:
        """Raise SaveFailed for system errors. If the swap took place before the error, the old content is kept."""
        self.swapped = True
        with failing_whole(self._directory.path / self._name):
            try:
                yield
            except BaseException:
                self.swapped = self._is_in_place()
                raise

    def _is_in_place(self) -> bool:
        ours = self._directory.fs.status(self._descriptor)
        current = self._directory.status_of(self._name)
        return current is not None and (current.st_dev, current.st_ino) == (ours.st_dev, ours.st_ino)

    def _confirm(self, first: Callable[[], None]) -> os.stat_result:
        """Sync the directory, and return the file's status from before that."""
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


class failing_whole:  # noqa: N801 -- it reads like contextlib.suppress
    """Turn a system error into SaveFailed; use it only around code that runs before anything is changed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, problem: BaseException | None, __: object) -> None:
        if isinstance(problem, OSError):
            raise SaveFailed(
                f"{self._path} was not saved, and is unchanged: {problem.strerror or problem}; {remedy(problem)}"
            ) from problem


def digest_of(data: bytes | None) -> str | None:
    """Return the SHA-256 of a file's bytes in hex, or None if there is no file."""
    return None if data is None else hashlib.sha256(data).hexdigest()


def temporary_name(name: str) -> str:
    """Return a unique temporary name for the new content of a file."""
    return f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"


def _fill(directory: Directory, descriptor: int, data: bytes) -> str:
    fs, hashing = directory.fs, Hashing(data)
    for start in range(0, len(data), _AT_ONCE):
        if start:
            fs.sync_data(descriptor)  # little by little, because the syncs of others wait for what is not synced yet
        directory.write_all(descriptor, memoryview(data)[start : start + _AT_ONCE])
    digest = hashing.hexdigest()
    if fs.status(descriptor).st_size != len(data):
        raise OSError(errno.EIO, "the file has another size than what was written")
    with contextlib.suppress(OSError):  # not every file system has extended attributes
        fs.stamp(descriptor, digest.encode())
    fs.sync(descriptor)
    return digest


def forget(directory: Directory, temporary: str) -> None:
    """Remove a temporary file; if that fails, the next clean-up removes it."""
    with contextlib.suppress(OSError):
        directory.fs.unlink(temporary, directory.descriptor)


def _swap(directory: Directory, temporary: str, name: str, *, exists: bool) -> str | None:
    """Give the new file its name, and return the name that the old file has now, None if there was none."""
    fs, within = directory.fs, directory.descriptor
    for _ in range(3):  # another program may create or remove the file between two calls
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
    raise OSError(errno.EBUSY, "another program keeps creating and removing the file")


def _swap_by_copy(directory: Directory, temporary: str, name: str) -> str | None:
    """Swap on a system that cannot exchange names; a write by another program between the two calls is lost."""
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


def _put_aside(directory: Directory, temporary: str, name: str, base: str | None, known: Checked) -> None:
    fs, within, previous = directory.fs, directory.descriptor, f"{name}.prev"
    with contextlib.suppress(DocumentRefused):  # another program put a link or the like there: it is kept as a conflict
        if _is_known(directory, temporary, known.current) or digest_of(directory.read(temporary)) == base:
            kept = None if _is_known(directory, previous, known.previous) else directory.look(previous)
            if kept is not None and kept.stamp not in (None, kept.digest):
                _keep_conflict(directory, previous, name)  # an editor had it open while it was the document
            fs.rename(temporary, previous, within)
            return
    _keep_conflict(directory, temporary, name)


def _is_known(directory: Directory, name: str, known: StatSignature | None) -> bool:
    if known is None or not known.is_sure:
        return False
    status = directory.status_of(name)
    return status is not None and known.is_of_renamed(status)


def _keep_conflict(directory: Directory, kept: str, name: str) -> None:
    aside = directory.put_aside(kept, "conflict", of=name)
    logger.warning(
        "%s was written by another program meanwhile; that content is kept as %s", directory.path / name, aside
    )
