"""One JSON file: where it is, how it is locked, read and replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from orbsite.storage.directory import Directory
from orbsite.storage.envelope import Envelope, Plain
from orbsite.storage.errors import DocumentCorrupt, DocumentError
from orbsite.storage.fsops import OS, FileSystem
from orbsite.storage.lock import locked
from orbsite.storage.replace import replace

LOCK_TIMEOUT = 20.0
"""Seconds to wait for another process before giving up."""


class Document:
    """A JSON file at its place under a data directory."""

    def __init__(self, base: Path, file: PurePosixPath, envelope: Envelope | None = None, fs: FileSystem = OS) -> None:
        self.base = base
        self.path = base / file
        self._within = file.parent.name
        self._envelope = envelope or Plain()
        self._fs = fs

    def read(self) -> bytes | None:
        """Return the document's bytes, or None where there is none yet. Creates nothing, and takes no lock.

        A file that is replaced meanwhile is read as it was, or as it is then: never in between. Raises DocumentRefused,
        and DocumentCorrupt where the file is gone and what was kept of it is not.
        """
        with contextlib.ExitStack() as stack:
            try:
                base = stack.enter_context(Directory.open(self.base, self._fs))
                directory = stack.enter_context(base.enter(self._within))
            except FileNotFoundError:
                return None
            kept = self._read(directory)
            return None if kept is None else self._envelope.open(kept)

    @contextlib.contextmanager
    def editing(self) -> Iterator[Edit]:
        """Hold the document's lock; what is read meanwhile is what will be replaced."""
        with (
            Directory.make(self.base, self._fs) as base,
            base.enter_or_make(self._within) as directory,
            locked(directory, self.path.name, LOCK_TIMEOUT),
        ):
            kept = self._read(directory)
            if kept is None:  # the directories may be as new as the file, and another process may have made them
                base.sync()
                with Directory.open(self.base.parent.resolve(), self._fs) as above:
                    above.sync()
            yield Edit(directory, self.path.name, self._envelope, kept)

    def _read(self, directory: Directory) -> bytes | None:
        kept = directory.read(self.path.name)
        if kept is None:
            self._refuse_to_start_over(directory)
        return kept

    def _refuse_to_start_over(self, directory: Directory) -> None:
        beside = sorted(name for name in directory.names() if name.startswith(f"{self.path.name}."))
        if beside and directory.read(self.path.name) is None:
            raise DocumentCorrupt(
                f"{self.path} is missing, but {', '.join(beside)} beside it says that there was one; "
                "rename the one that you want to go on with, or move all of them away to start empty"
            )


class Edit:
    """A document under its lock."""

    def __init__(self, directory: Directory, name: str, envelope: Envelope, kept: bytes | None) -> None:
        self.data = None if kept is None else envelope.open(kept)
        self._directory, self._name, self._envelope, self._kept = directory, name, envelope, kept

    def replace(self, data: bytes) -> None:
        """Replace the document. Raises SaveFailed and SaveOutcomeUnknown."""
        replace(self._directory, self._name, self._envelope.close(data), self._kept)


def require_directory(base: Path) -> None:
    """Raise DocumentError where a data directory that somebody named is not there."""
    try:
        with Directory.open(base):
            pass
    except FileNotFoundError as problem:
        raise DocumentError(f"there is no data directory {base}; check --data-dir and ORB_DATA_DIR") from problem
