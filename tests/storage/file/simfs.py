"""A file system in memory that tells what is cached from what the disk has, and shows every state after a crash.

Directory entries reach the disk in order, any number of those not synced yet, each directory by itself; of a file that
was not synced the disk has any part, or zeros in its place. That is weaker than ext4 and xfs promise.
"""

from __future__ import annotations

import itertools
import stat
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orbsite.storage.filesystem.syscalls import FileSystem

ROOT = Path("/simulated")


_numbers = itertools.count(1)


@dataclass
class File:
    cached: bytes = b""
    durable: set[bytes] = field(default_factory=lambda: {b""})
    stamp: bytes | None = None
    changes: int = 0
    number: int = field(default_factory=lambda: next(_numbers))
    holder: int | None = None
    """The descriptor that has a lock on it."""

    def write(self, data: bytes) -> None:
        whole, half = self.cached + data, self.cached + data[: len(data) // 2]
        self.durable |= {whole, half, self.cached + b"\0" * len(data), half + b"\0" * (len(data) - len(data) // 2)}
        self.cached = whole
        self.changes = next(_numbers)

    def truncate(self, size: int) -> None:
        self.cached = self.cached[:size]
        self.durable.add(self.cached)
        self.changes = next(_numbers)

    def sync(self) -> None:
        self.durable = {self.cached}


@dataclass
class Folder:
    entries: dict[str, Any] = field(default_factory=dict)
    states: list[dict[str, Any]] = field(default_factory=lambda: [{}])

    def changed(self) -> None:
        self.states.append(dict(self.entries))

    def sync(self) -> None:
        self.states = [dict(self.entries)]


def _key(node: File | Folder) -> Hashable:
    if isinstance(node, File):
        return node.cached, node.stamp
    return tuple(sorted((name, _key(entry)) for name, entry in node.entries.items()))


@dataclass
class _Status:
    st_mode: int
    st_size: int = 0
    st_uid: int = 0
    st_nlink: int = 1
    st_dev: int = 0
    st_ino: int = 0
    st_mtime_ns: int = 0
    st_ctime_ns: int = 0


class SimFS(FileSystem):
    """Calls `after_each` when a call that changes something is done."""

    def __init__(self, root: Folder | None = None) -> None:
        self.root = root or Folder()
        self.open_ones: dict[int, Any] = {}
        self.after_each: Callable[[], None] = lambda: None
        self._next = itertools.count(1000)

    def open_directory(self, name: str | Path, within: int | None = None) -> int:
        if within is not None:
            return self._open(
                self.open_ones[within].entries[str(name)] if name in self.open_ones[within].entries else None
            )
        node: Any = self.root
        for part in Path(name).relative_to(ROOT.parent).parts[1:]:
            node = node.entries.get(part) if node else None
        return self._open(node)

    def make_directory(self, name: str | Path, within: int | None = None) -> None:
        assert within is not None
        self._add(within, str(name), Folder())

    def open_for_reading(self, name: str, within: int) -> int:
        return self._open(self.open_ones[within].entries.get(name))

    def create(self, name: str, within: int) -> int:
        return self._open(self._add(within, name, File()))

    def open_for_appending(self, name: str, within: int) -> int:
        return self._open(self.open_ones[within].entries.get(name))

    def open_lock(self, name: str, within: int) -> int:
        return self._open(self.open_ones[within].entries.get(name) or self._add(within, name, File()))

    def read(self, descriptor: int, offset: int = 0) -> bytes:
        return bytes(self.open_ones[descriptor].cached[offset:])

    def write(self, descriptor: int, data: memoryview) -> int:
        part = bytes(data[: max(1, len(data) // 2)])
        self.open_ones[descriptor].write(part)
        self.after_each()
        return len(part)

    def status(self, descriptor: int) -> Any:
        return _status(self.open_ones[descriptor])

    def status_of(self, name: str, within: int) -> Any:
        entries = self.open_ones[within].entries
        if name not in entries:
            raise FileNotFoundError(name)
        return _status(entries[name])

    def truncate(self, descriptor: int, size: int) -> None:
        self.open_ones[descriptor].truncate(size)
        self.after_each()

    def stamp(self, descriptor: int, value: bytes) -> None:
        self.open_ones[descriptor].stamp = value

    def read_stamp(self, descriptor: int) -> bytes:
        if self.open_ones[descriptor].stamp is None:
            raise OSError
        return self.open_ones[descriptor].stamp

    def sync_data(self, descriptor: int) -> None:
        self.sync(descriptor)

    def sync(self, descriptor: int) -> None:
        self.open_ones[descriptor].sync()
        self.after_each()

    def close(self, descriptor: int) -> None:
        self.unlock(descriptor)
        del self.open_ones[descriptor]

    def narrow(self, descriptor: int, mode: int) -> None:
        pass

    def rename(self, old: str, new: str, within: int) -> None:
        folder = self.open_ones[within]
        folder.entries[new] = folder.entries.pop(old)
        self._changed(folder)

    def move(self, old: str, within: int, new: str, to: int) -> None:
        self.open_ones[to].entries[new] = self.open_ones[within].entries.pop(old)
        self.open_ones[to].changed()
        self._changed(self.open_ones[within])

    def rename_to_free(self, old: str, new: str, within: int) -> None:
        if new in self.open_ones[within].entries:
            raise FileExistsError(new)
        self.rename(old, new, within)

    def exchange(self, one: str, other: str, within: int) -> None:
        folder = self.open_ones[within]
        if other not in folder.entries:
            raise FileNotFoundError(other)
        folder.entries[one], folder.entries[other] = folder.entries[other], folder.entries[one]
        self._changed(folder)

    def unlink(self, name: str, within: int) -> None:
        if name not in self.open_ones[within].entries:
            raise FileNotFoundError(name)
        del self.open_ones[within].entries[name]
        self._changed(self.open_ones[within])

    def names(self, descriptor: int) -> list[str]:
        return list(self.open_ones[descriptor].entries)

    def lock(self, descriptor: int) -> None:
        file = self.open_ones[descriptor]
        if file.holder not in (None, descriptor):
            raise BlockingIOError
        file.holder = descriptor

    def unlock(self, descriptor: int) -> None:
        file = self.open_ones[descriptor]
        if isinstance(file, File) and file.holder == descriptor:
            file.holder = None

    def leave_hint(self, descriptor: int, hint: bytes) -> None:
        pass

    def key(self) -> Hashable:
        """Return what lies there, to compare it with another state: two states that are equal are read equally."""
        return _key(self.root)

    def crashes(self) -> Iterator[SimFS]:
        """Yield what may be on the disk now, as file systems of their own."""
        return (SimFS(state) for state in _states(self.root))

    def _open(self, node: Any) -> int:
        if node is None:
            raise FileNotFoundError
        descriptor = next(self._next)
        self.open_ones[descriptor] = node
        return descriptor

    def _add(self, within: int, name: str, node: Any) -> Any:
        folder = self.open_ones[within]
        if name in folder.entries:
            raise FileExistsError(name)
        folder.entries[name] = node
        self._changed(folder)
        return node

    def _changed(self, folder: Folder) -> None:
        folder.changed()
        self.after_each()


def _status(node: Any) -> _Status:
    if isinstance(node, Folder):
        return _Status(stat.S_IFDIR | 0o700, st_ino=id(node))
    status = _Status(stat.S_IFREG | 0o600, len(node.cached), st_ino=node.number)
    status.st_mtime_ns = status.st_ctime_ns = node.changes
    return status


def _states(node: Any) -> Iterator[Any]:
    if isinstance(node, File):
        yield from (File(content, {content}, node.stamp) for content in sorted(node.durable))
        return
    for entries in node.states:
        names = sorted(entries)
        for children in itertools.product(*(_states(entries[name]) for name in names)):
            kept = dict(zip(names, children, strict=True))
            yield Folder(dict(kept), [dict(kept)])
