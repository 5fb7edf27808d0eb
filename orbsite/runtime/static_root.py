"""Checks the directory of static files. All files in it are public, so it may contain only collected files."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

MANIFEST = "staticfiles.json"
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_COMPRESSED = (".gz", ".br", ".zst")
_HASH = re.compile(r"\.[0-9a-f]{12}(?=\.[^./]*$|$)")
"""The content hash in a file name, before the suffix."""


def foreign(root: Path) -> str | None:
    """Return the name of a file under the directory that `collectstatic` did not write, or None."""
    known = collected(root)
    for name, path in _entries(root):
        if any(part.startswith(".") for part in Path(name).parts) or not _is_plain(path):
            return name
        if path.is_file() and name not in known:
            return name
    return None


def writable_by_all(root: Path) -> Path | None:
    """Return the directory, or a path in it, if it is writable by all users; else None."""
    paths = (path for path in (root, *(path for _, path in _entries(root))) if not path.is_symlink())
    return next((path for path in paths if path.stat().st_mode & stat.S_IWOTH), None)


def collected(root: Path) -> set[str]:
    """Return the names of the files in the directory that belong to the manifest of the last collection."""
    names = _manifest(root)
    return {name for name, path in _entries(root) if name == MANIFEST or _original(name) in names} if names else set()


def make_private_to_write(root: Path) -> None:
    """Remove the write permission of group and others from the directory and all its files."""
    for path in (root, *(path for _, path in _entries(root))):
        if not path.is_symlink() and (mode := stat.S_IMODE(path.stat().st_mode)) & _WRITABLE:
            path.chmod(mode & ~_WRITABLE)


def _original(name: str) -> str:
    """Return the name of a file without its content hash and its compression suffix."""
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return _HASH.sub("", name)


def _manifest(root: Path) -> set[str]:
    """Return the original names of the files in the manifest."""
    try:
        paths = json.loads((root / MANIFEST).read_text("utf-8"))["paths"]
        return {_original(str(name)) for name in paths}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _entries(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the relative name and the path of each entry under a directory. Links are not followed."""
    for place, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(place, name)
            yield path.relative_to(root).as_posix(), path


def _is_plain(path: Path) -> bool:
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
