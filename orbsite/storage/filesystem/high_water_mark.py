"""A number that only grows, kept in a small file: the highest generation of a document.

It is not synced: after a power cut the number may be lost or too low, and never too high.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.syscalls import OS, FileSystem


class HighWaterMark:
    """A number in a file under a directory."""

    def __init__(self, base: Path, within: tuple[str, ...], name: str, fs: FileSystem = OS) -> None:
        self._base, self._within, self._name, self._fs = base, within, name, fs

    def read(self) -> int:
        """Return the number, 0 if it is not known. Raises DocumentError, OSError."""
        with contextlib.ExitStack() as stack:
            try:
                directory = stack.enter_context(Directory.open(self._base, self._fs))
                for name in self._within:
                    directory = stack.enter_context(directory.enter(name))
            except FileNotFoundError:
                return 0
            data = directory.read(self._name) or b""
        return int(data) if data.isdigit() else 0

    def write(self, number: int) -> None:
        """Replace the number. The caller excludes other writers. Raises DocumentError, OSError."""
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(Directory.open(self._base, self._fs))
            for name in self._within:
                directory = stack.enter_context(directory.enter_or_make(name))
            temporary = f".{self._name}.tmp"
            with contextlib.suppress(FileNotFoundError):
                self._fs.unlink(temporary, directory.descriptor)
            descriptor = self._fs.create(temporary, directory.descriptor)
            try:
                directory.write_all(descriptor, str(number).encode())
            finally:
                directory.close(descriptor)
            self._fs.rename(temporary, self._name, directory.descriptor)
