"""Finds untracked files: files under a data directory that belong neither to this layer nor to another one.

They are listed, and never changed unless the caller names them.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from orbsite.storage.errors import DocumentRefused, OrbError
from orbsite.storage.file.document import GENERATIONS, LOST_AND_FOUND, OWN, generations_name
from orbsite.storage.file.erasure import ERASURES
from orbsite.storage.file.last_runs import FACTS
from orbsite.storage.file.orphans import (
    HALF_FACTS,
    HALF_TOMBSTONE_FILES,
    TOMBSTONE_FILES,
    Spelling,
    is_plain,
    kept_beside,
    of_document,
    of_lost_and_found,
)
from orbsite.storage.file.tombstones import TOMBSTONES
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.records.domain import registered

OTHERS = frozenset({"events", "mav"})
"""Directories of other layers, which are never searched."""


def untracked_in(top: Directory) -> dict[str, os.stat_result]:
    """Return the untracked files by their paths relative to the data directory."""
    return dict(_untracked(top))


def _untracked(top: Directory) -> Iterator[tuple[str, os.stat_result]]:
    domains = {domain.file.parent.name: domain for domain in registered()}
    yield from _unknown(top, (), {*domains, *OTHERS, OWN})
    for name, domain in domains.items():
        document = domain.file.name
        yield from _unknown(top, (name,), kept_beside(document) | domain.others, of_document(document))
        yield from _unknown(top, (name, LOST_AND_FOUND), (), of_lost_and_found(document))
    yield from _unknown(top, (OWN,), {TOMBSTONES, FACTS, ERASURES, GENERATIONS, f".{ERASURES}.lock"}, HALF_FACTS)
    generations = {generations_name(domain.file) for domain in domains.values()}
    yield from _unknown(top, (OWN, GENERATIONS), generations | {f".{name}.tmp" for name in generations})
    yield from _unknown(top, (OWN, TOMBSTONES), (), TOMBSTONE_FILES, HALF_TOMBSTONE_FILES)


def _unknown(
    top: Directory, within: tuple[str, ...], known: Container[str], *ours: Spelling
) -> Iterator[tuple[str, os.stat_result]]:
    with ExitStack() as stack:
        try:
            directory = entered(stack, top, within)
        except (DocumentRefused, FileNotFoundError):  # a link in the place of a directory is not followed
            return
        for name in sorted(directory.names()):
            status = directory.status_of(name)
            if status is None or name in known or (is_plain(status) and any(name in spelling for spelling in ours)):
                continue
            yield "/".join((*within, name)), status


def entered(stack: ExitStack, top: Directory, within: Iterable[str]) -> Directory:
    """Open a directory below another one without following links."""
    for name in within:
        top = stack.enter_context(top.enter(name))
    return top


def named(untracked: dict[str, os.stat_result], name: str) -> str:
    """Return the listed name of an untracked file. Raises OrbError for any other name."""
    found = next((one for one in untracked if name in (one, shown(one))), None)
    if found is None:
        raise OrbError(
            f"{shown(name)} is not among the unknown files; nothing was done. "
            "Give a name exactly as it is listed; files of this and of other layers cannot be removed this way"
        )
    if not is_plain(untracked[found]):
        raise OrbError(f"{shown(name)} is not a regular file (it is a directory, a link or the like); nothing was done")
    return found


def shown(path: str | Path) -> str:
    """Return a path in printable ASCII."""
    text = str(path)
    return text if text.isprintable() and text.isascii() else ascii(text)[1:-1]
