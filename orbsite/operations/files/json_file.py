"""A JSON file that is read and written as a whole, by the guide's names."""

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
    """Return what a JSON file holds, or `default` where there is no file.

    A file that is there and is no JSON is an error, never the default. Raises DocumentCorrupt and DocumentRefused.
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
            f"{path} is not valid JSON: {problem}; it was left as it is, mend it by hand"
        ) from problem


def write_json(path: str | Path, value: Any) -> None:
    """Replace a JSON file as a whole, durably, in private directories that are made where they are missing.

    Raises ValueError for what is no JSON, SaveFailed, SaveOutcomeUnknown and DocumentRefused.
    """
    path = Path(path)
    data = stringify(value)
    with _directory(path.parent) as directory, locked(directory, path.name, LOCK_TIMEOUT):
        replace(directory, path.name, data, digest_of(directory.read(path.name)))


def _directory(path: Path) -> Directory:
    """Open a directory, which may be anybody's; one that is missing is made, private."""
    try:
        return Directory.open(path)
    except FileNotFoundError:
        return Directory.make(path)
