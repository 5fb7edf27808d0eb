"""Replacing a file as a whole, durably: the one function through which every document is written.

Written beside its target, synced, swapped with it, and the directory synced. What was swapped out is looked at: the
content that the caller has read becomes `NAME.prev`, the last good generation; anything else is what somebody wrote in
between, and is kept as `NAME.conflict-<nanoseconds>`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets

from orbsite.storage.directory import Directory
from orbsite.storage.errors import DocumentRefused, SaveFailed, SaveOutcomeUnknown

logger = logging.getLogger(__name__)

_NO_RENAMEAT2 = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def replace(directory: Directory, name: str, data: bytes, base: bytes | None) -> None:
    """Replace a file's content `base`, None where there is no file, by `data`; then it survives a power cut.

    Raises SaveFailed, and the old content is whole; or SaveOutcomeUnknown, and the new content is there but may not
    survive a power cut.
    """
    temporary = f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        _write(directory, temporary, data)
        swapped = _swap(directory, temporary, name, exists=base is not None)
    except OSError as problem:
        with contextlib.suppress(OSError):
            directory.fs.unlink(temporary, directory.descriptor)
        raise SaveFailed(
            f"{directory.path / name} was not saved, and is as it was: {problem.strerror}; mend that, then save again"
        ) from problem
    try:
        if swapped:
            _put_aside(directory, temporary, name, base)
        directory.fs.sync(directory.descriptor)
    except OSError as problem:
        raise SaveOutcomeUnknown(
            f"{directory.path / name} was replaced, but the disk did not confirm it: {problem.strerror}; "
            "check the disk, and read the file again before you retry"
        ) from problem


def _write(directory: Directory, name: str, data: bytes) -> None:
    fs, descriptor = directory.fs, directory.fs.create(name, directory.descriptor)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[fs.write(descriptor, rest) :]
        if fs.status(descriptor).st_size != len(data):
            raise OSError(errno.EIO, "the file has another size than what was written")
        fs.sync(descriptor)
    finally:
        fs.close(descriptor)


def _swap(directory: Directory, temporary: str, name: str, *, exists: bool) -> bool:
    """Bring the new file to its name, and tell whether the old one is under the temporary name now."""
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
            if problem.errno not in _NO_RENAMEAT2:
                raise
            return _swap_by_links(directory, temporary, name)
        else:
            return exists
    raise OSError(errno.EBUSY, "another program makes and removes the file all the time")


def _swap_by_links(directory: Directory, temporary: str, name: str) -> bool:
    """Do the same where the system cannot exchange names: what comes between the two calls is lost to us."""
    fs, within = directory.fs, directory.descriptor
    kept = f"{temporary}.old"
    try:
        fs.link(name, kept, within)
    except FileNotFoundError:
        fs.rename(temporary, name, within)
        return False
    fs.rename(temporary, name, within)
    fs.rename(kept, temporary, within)
    return True


def _put_aside(directory: Directory, temporary: str, name: str, base: bytes | None) -> None:
    fs, within = directory.fs, directory.descriptor
    with contextlib.suppress(DocumentRefused):  # somebody put a link or the like in the place: kept as well
        if directory.read(temporary) == base:
            fs.rename(temporary, f"{name}.prev", within)
            return
    aside = f"{name}.conflict-{fs.nanoseconds()}"
    fs.rename(temporary, aside, within)
    logger.warning(
        "%s was written by somebody else meanwhile; that content is kept as %s", directory.path / name, aside
    )
