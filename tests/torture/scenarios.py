"""What lies there before the fault, and what a process does then."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbsite.storage.file import writer
from orbsite.storage.filesystem.syscalls import FileSystem
from te.domain import DOMAIN
from tests.torture.oracle import Act, Content, content_of, open_store, perform

JOURNAL = 0
REWRITE = None
DEAD = "4194305.0badcafe"  # no process has this id


def nothing(base: Path) -> None:
    pass


def _document(base: Path) -> None:
    store = open_store(base, REWRITE)
    for act in (("put", "a", "a1"), ("put", "b", "b1"), ("put", "a", "a2")):
        perform(store, act)


def _journal(base: Path) -> None:
    """Make one whose replay over what comes after it would show."""
    _document(base)
    store = open_store(base, JOURNAL)
    for act in (("put", "c", "c1"), ("put", "x", "x1"), ("delete", "b"), ("delete", "x")):
        perform(store, act)


def _torn(base: Path) -> None:
    _journal(base)
    path = base / f"{DOMAIN.file}.journal"
    path.write_bytes(path.read_bytes() + b'{"journal":"0badcafe","seq":5,"steps":[{"put":"refle')


def _headless(base: Path) -> None:
    _document(base)
    path = base / f"{DOMAIN.file}.journal"
    path.write_bytes(b'{"journal":"0badcafe","seq":0,"versi')
    path.chmod(0o600)


def _leftovers(base: Path) -> None:
    _journal(base)
    path = base / DOMAIN.file
    for number, name in enumerate((path.name, f"{path.name}.journal")):
        left = path.with_name(f".{name}.{DEAD}{number}.tmp")
        left.write_bytes(b"left")
        left.chmod(0o600)


def _no_change(*_: Any) -> None:
    pass


def _fold_at_once() -> None:
    writer.SMALL = 0


def _no_renameat2() -> None:
    def unknown(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    FileSystem.exchange = FileSystem.rename_to_free = unknown


@dataclass(frozen=True)
class Scenario:
    """One start and what follows; `adjust` changes the process that acts, and nobody else.

    Every act but the last is made between `limit` and `relieve`, and so is every look of the process at its content.
    """

    name: str
    above: int | None
    build: Callable[[Path], None]
    acts: tuple[Act, ...]
    adjust: Callable[[], None] = _no_change
    limit: Callable[[], None] = _no_change
    relieve: Callable[[], None] = _no_change
    at_last: Callable[[], None] = _no_change
    """What comes before the last act."""

    def prepare(self, base: Path) -> Content:
        self.build(base)
        return content_of(open_store(base, self.above))


_CHANGES = (("put", "x", "x2", "y", "y1"), ("delete", "a"), ("put", "c", "c2"))
_MORE = (("put", "c", "c3"), ("fold",), ("put", "x", "x3"))
_CONCURRENT = (*_CHANGES[:1], ("fold concurrently",), ("delete", "a"), ("fold concurrently",), ("put", "x", "x3"))

SCENES = [
    Scenario("file-first", REWRITE, nothing, (("put", "a", "a1"), ("put", "b", "b1"))),
    Scenario("file", REWRITE, _document, _CHANGES),
    Scenario("file-over-journal", REWRITE, _journal, _CHANGES),
    Scenario("file-torn", REWRITE, _torn, _CHANGES[:2]),
    Scenario("file-leftovers", REWRITE, _leftovers, _CHANGES[:2]),
    Scenario("file-by-links", REWRITE, _document, _CHANGES, _no_renameat2),
    Scenario("journal-first", JOURNAL, nothing, (("put", "a", "a1"), ("put", "b", "b1"), ("put", "b", "b2"))),
    Scenario("journal-by-links", JOURNAL, _document, _CHANGES, _no_renameat2),
    Scenario("journal", JOURNAL, _journal, _CHANGES),
    Scenario("journal-fold", JOURNAL, _journal, _MORE),
    Scenario("journal-fold-concurrent", JOURNAL, _journal, _CONCURRENT),
    Scenario("journal-due", JOURNAL, _journal, _CHANGES[:2], _fold_at_once),
    Scenario("journal-torn", JOURNAL, _torn, _CHANGES[:2]),
    Scenario("journal-torn-fold", JOURNAL, _torn, (("fold",), ("put", "x", "x2"))),
    Scenario("journal-headless", JOURNAL, _headless, _CHANGES[:2]),
    Scenario("journal-leftovers", JOURNAL, _leftovers, _CHANGES[:2]),
]
