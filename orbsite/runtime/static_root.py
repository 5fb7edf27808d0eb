"""The directory of static files: everything in it is served to everybody, so that it holds what was collected alone."""

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
"""What stands in the name of a file before its suffix, and changes with what is in it."""


def foreign(root: Path) -> str | None:
    """Return the name of something under a directory that `collectstatic` has not put there, or None."""
    known = collected(root)
    for name, path in _entries(root):
        if any(part.startswith(".") for part in Path(name).parts) or not _is_plain(path):
            return name
        if path.is_file() and name not in known:
            return name
    return None


def writable_by_all(root: Path) -> Path | None:
    """Return something under a directory, or the directory, that everybody may write to."""
    paths = (path for path in (root, *(path for _, path in _entries(root))) if not path.is_symlink())
    return next((path for path in paths if path.stat().st_mode & stat.S_IWOTH), None)


def collected(root: Path) -> set[str]:
    """Return the names of the files there that the manifest of the last collection accounts for."""
    names = _manifest(root)
    return {name for name, path in _entries(root) if name == MANIFEST or _original(name) in names} if names else set()


def make_private_to_write(root: Path) -> None:
    """Let the owner alone write to what is there, whatever the umask was when it was made."""
    for path in (root, *(path for _, path in _entries(root))):
        if not path.is_symlink() and (mode := stat.S_IMODE(path.stat().st_mode)) & _WRITABLE:
            path.chmod(mode & ~_WRITABLE)


def _original(name: str) -> str:
    """Return the name that a file had before it was compressed and its hash was put in."""
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return _HASH.sub("", name)


def _manifest(root: Path) -> set[str]:
    """Return the names that the manifest lists, as `_original` gives them back."""
    try:
        paths = json.loads((root / MANIFEST).read_text("utf-8"))["paths"]
        return {_original(str(name)) for name in paths}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _entries(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield everything under a directory, by its name below it; links are not followed."""
    for place, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(place, name)
            yield path.relative_to(root).as_posix(), path


def _is_plain(path: Path) -> bool:
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
