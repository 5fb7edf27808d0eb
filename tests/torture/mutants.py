"""Stores with one guard taken away: whatever harness looks for that must find something in them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from orbsite.storage.file import writer
from orbsite.storage.file.store import FileStore
from orbsite.storage.filesystem import atomic_replace
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.syscalls import FileSystem


def in_place() -> None:
    """Write over the document instead of replacing it."""

    def swap(self: atomic_replace.Successor, base: str | None) -> os.stat_result:
        path = self._directory.path / self._name
        data = self._directory.read(self._temporary) or b""
        with path.open("wb", buffering=0) as file:
            for begin in range(0, len(data), 100):
                file.write(data[begin : begin + 100])
        path.chmod(0o600)
        return path.stat()

    atomic_replace.Successor.swap = swap


def no_clean_up() -> None:
    """Leave the temporary file of a save that failed."""
    atomic_replace.forget = lambda *_: None


def no_announcement() -> None:
    """Fold without a word in the journal."""
    writer.Writer._announce = lambda *_: None


def sync_again() -> None:
    """Sync once more where that failed: the system says yes then, and has thrown the data away."""

    def again(call: Any) -> Any:
        def sync(fs: FileSystem, descriptor: int) -> None:
            try:
                call(fs, descriptor)
            except OSError:
                call(fs, descriptor)

        return sync

    FileSystem.sync, FileSystem.sync_data = again(FileSystem.sync), again(FileSystem.sync_data)


def one_write() -> None:
    """Take it that a write takes everything."""

    def write(directory: Any, descriptor: int, data: bytes) -> None:
        directory.fs.write(descriptor, memoryview(data))

    Directory.write_all = write


def kept_in_memory() -> None:
    """Go on with what was changed in memory where it did not reach the disk."""
    whole = FileStore._writer

    @contextlib.contextmanager
    def careless(self: FileStore, directory: Any) -> Iterator[Any]:
        replica = None
        try:
            with whole(self, directory) as one:
                replica = one._replica
                yield one
        finally:
            self._replica = replica

    FileStore._writer = careless


MUTANTS = {
    "in-place": in_place,
    "no-clean-up": no_clean_up,
    "no-announcement": no_announcement,
    "sync-again": sync_again,
    "one-write": one_write,
    "kept-in-memory": kept_in_memory,
}


def put_on(names: list[str]) -> None:
    for name in names:
        MUTANTS[name]()
