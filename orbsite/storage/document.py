"""One JSON file: where it is, how it is locked, read and replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from orbsite.storage.directory import Directory
from orbsite.storage.envelope import Envelope, Plain
from orbsite.storage.errors import DocumentError

LOCK_TIMEOUT = 20.0
"""Seconds to wait for another process before giving up."""


class Document:
    """A JSON file at its place under a data directory."""

    def __init__(self, base: Path, file: PurePosixPath, envelope: Envelope | None = None) -> None:
        self.base = base
        self.path = base / file
        self._within = file.parent.name
        self._envelope = envelope or Plain()

    def read(self) -> bytes | None:
        """Return the document's bytes, or None where there is none yet. Creates nothing, and takes no lock.

        A file that is replaced meanwhile is read as it was, or as it is then: never in between.
        """
        with contextlib.ExitStack() as stack:
            try:
                base = stack.enter_context(Directory.open(self.base))
                directory = stack.enter_context(base.enter(self._within))
            except FileNotFoundError:
                return None
            return self._read(directory)

    @contextlib.contextmanager
    def editing(self) -> Iterator[Edit]:
        """Hold the document's lock; what is read meanwhile is what will be replaced."""
        with (
            Directory.make(self.base) as base,
            base.enter_or_make(self._within) as directory,
            directory.locked(self.path.name, LOCK_TIMEOUT),
        ):
            yield Edit(self, directory, self._read(directory))

    def _read(self, directory: Directory) -> bytes | None:
        kept = directory.read(self.path.name)
        return None if kept is None else self._envelope.open(kept)

    def _replace(self, directory: Directory, data: bytes) -> None:
        directory.replace(self.path.name, self._envelope.close(data))


class Edit:
    """A document under its lock."""

    def __init__(self, document: Document, directory: Directory, data: bytes | None) -> None:
        self.data = data
        self._document = document
        self._directory = directory

    def replace(self, data: bytes) -> None:
        """Replace the document. Raises SaveFailed and SaveOutcomeUnknown."""
        self._document._replace(self._directory, data)


def require_directory(base: Path) -> None:
    """Raise DocumentError where a data directory that somebody named is not there."""
    try:
        with Directory.open(base):
            pass
    except FileNotFoundError as problem:
        raise DocumentError(f"there is no data directory {base}; check --data-dir and ORB_DATA_DIR") from problem
