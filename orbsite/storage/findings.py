"""Findings: problems in data, as values with a severity, a path and a message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

ROOT = "$"

_LONGEST_KEY = 255
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


class Severity(StrEnum):
    """The severity of a finding: a record with an error is skipped, a record with a warning is kept."""

    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem and its place, as a path such as `$.ana-0.profiles.mars.constraints[1]`."""

    path: str
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class Unreadable(Finding):
    """An item in a store that does not decode: its kind, and the parts of its key that are known."""

    kind: str = ""
    key: tuple[str, ...] = ()


def unreadable(kind: str, key: Iterable[str], message: str) -> Unreadable:
    """Return the finding for an item that does not decode. Its path has the key; `message` must not quote the item."""
    names = tuple(key)
    return Unreadable(f"{kind} {json.dumps(names)}", Severity.ERROR, message, kind, names)


def printable(value: Any) -> str:
    """Return a part of a key as valid Unicode text; bytes and lone surrogates are escaped with backslashes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value).encode("utf-8", "backslashreplace").decode()


def error(path: str, message: str) -> Finding:
    """Return a finding of severity error: its record is skipped."""
    return Finding(path, Severity.ERROR, message)


def warning(path: str, message: str) -> Finding:
    """Return a finding of severity warning: its record is kept."""
    return Finding(path, Severity.WARNING, message)


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of severity error, in their order."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def step(path: str, key: str | int) -> str:
    """Return `path` extended by a key or an index. Unusual keys are quoted as ASCII, so that a path is safe to print.

    A key of more than 255 characters, the longest id, is cut, and its length is added.
    """
    if isinstance(key, int):
        return f"{path}[{key}]"
    if len(key) > _LONGEST_KEY:
        return f"{path}[{json.dumps(key[:_LONGEST_KEY])}… {len(key)} characters]"
    return f"{path}.{key}" if _PLAIN.match(key) else f"{path}[{json.dumps(key)}]"


def path_to(place: Iterable[str | int], start: str = ROOT) -> str:
    """Return the path of a place in a document, given as keys and indexes from the root."""
    path = start
    for key in place:
        path = step(path, key)
    return path
