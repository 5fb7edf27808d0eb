"""Finds the data directories under a directory: those with a document of a domain, or a file that belongs to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orbsite.models.bulk_migrations import name_of
from orbsite.operations.backup.manifest import MANIFEST, SUMS
from orbsite.storage.errors import OrbError
from orbsite.storage.findings import Finding, error, warning
from orbsite.storage.records.domain import Domain, registered

OWN = ".orb"
"""The directory of the stores in a data directory. Its copies of documents are no data directories."""


@dataclass(slots=True)
class Found:
    """The data directories under a directory, by path, and what was left out."""

    directories: list[Path] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unreadable: bool = False
    """Whether a directory could not be listed, so that there may be more data directories."""


def resolved(directory: Path) -> Path:
    """Return the path of a directory without links. Raises OrbError where it is none."""
    path = Path(os.path.realpath(directory))
    if not path.is_dir():
        raise OrbError(f"there is no directory {name_of(path)}; give --each a directory with data directories in it")
    return path


def data_directories(root: Path, *, without: Iterable[Path] = ()) -> Found:
    """Find the data directories below a resolved directory, at any depth, each once.

    Links are not followed: where one leads is found under its own path, or is outside and reported. Backups and the
    directories in `without` are left out, and so is the directory itself, which is reported if it has documents.
    """
    found, seen = Found(), dict[tuple[int, int], Path]()
    left_out = {os.path.realpath(one) for one in without}
    waiting = [root]
    while waiting:
        path = waiting.pop()
        try:
            entries = sorted(_entries(path), key=lambda entry: entry.name)
        except OSError as problem:
            found.unreadable = True
            found.findings.append(error(name_of(path), f"cannot be listed: {problem.strerror}"))
            continue
        names = {entry.name for entry in entries}
        if {MANIFEST, SUMS} <= names:
            continue
        if any(_has_document(path, domain, names) for domain in registered()):
            _add(found, seen, path, is_root=path == root)
        found.findings += _links_out(root, entries)
        inner = [Path(entry.path) for entry in entries if entry.name != OWN and entry.is_dir(follow_symlinks=False)]
        waiting += [one for one in reversed(inner) if str(one) not in left_out]
    return found


def _entries(path: Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return list(entries)


def _has_document(base: Path, domain: Domain, names: set[str]) -> bool:
    """Tell whether a directory has a domain's document, or one of its files, such as its journal."""
    if domain.file.parts[0] not in names:
        return False
    try:
        return any(entry.name.startswith(domain.file.name) for entry in _entries(base / domain.file.parent))
    except NotADirectoryError:
        return False
    except OSError:  # the migration of the directory says what is wrong
        return True


def _add(found: Found, seen: dict[tuple[int, int], Path], path: Path, *, is_root: bool) -> None:
    if is_root:
        message = "has documents itself, which --each leaves out; migrate them with --data-dir"
        found.findings.append(warning(name_of(path), message))
        return
    status = path.stat()
    first = seen.setdefault((status.st_dev, status.st_ino), path)
    if first is path:
        found.directories.append(path)
    else:
        found.findings.append(warning(name_of(path), f"is the same directory as {name_of(first)}, and is left out"))


def _links_out(root: Path, entries: list[os.DirEntry[str]]) -> Iterator[Finding]:
    """Report the links to directories outside, which a user may have placed there."""
    for entry in entries:
        if entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112 -- a path may be no text
            target = Path(os.path.realpath(entry.path))
            if not target.is_relative_to(root):
                message = f"is a link to {name_of(target)}, outside, and is not followed; migrate that with --data-dir"
                yield warning(name_of(Path(entry.path)), message)
