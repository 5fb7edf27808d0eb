"""Reads and writes whole JSON files, with the functions that the guide names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orbsite.storage.encoding import json_parser
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.file.document import LOCK_TIMEOUT
from orbsite.storage.filesystem.atomic_replace import digest_of, replace
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.lock import locked


def read_json(path: str | Path, default: Any) -> Any:
    """Return the contents of a JSON file, or `default` where the file does not exist.

    A file that is not valid JSON is an error, never the default. Raises DocumentCorrupt and DocumentRefused.
    """
    path = Path(path)
    try:
        with Directory.open(path.parent) as directory:
            data = directory.read(path.name)
    except FileNotFoundError:
        return default
    if data is None:
        return default
    try:
        return json_parser.parse(json_parser.without_bom(data)[0])
    except json_parser.MalformedJSON as problem:
        raise DocumentCorrupt(
            f"{path} is not valid JSON: {problem}; the file is unchanged. Repair it by hand"
        ) from problem


def write_json(path: str | Path, value: Any) -> None:
    """Replace a JSON file as a whole, durably. Missing directories are created, private.

    Raises ValueError for a value that JSON cannot hold, and SaveFailed, SaveOutcomeUnknown and DocumentRefused.
    """
    path = Path(path)
    data = stringify(value)
    with _directory(path.parent) as directory, locked(directory, path.name, LOCK_TIMEOUT):
        replace(directory, path.name, data, digest_of(directory.read(path.name)))


def _directory(path: Path) -> Directory:
    """Open a directory of any owner, or create it, private, where it is missing."""
    try:
        return Directory.open(path)
    except FileNotFoundError:
        return Directory.make(path)
