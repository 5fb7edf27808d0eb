"""A problem in data, as a value with a path."""

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
    """How much a finding weighs: an error leaves a record out, a warning does not."""

    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where, as a path such as `$.ana-0.profiles.mars.constraints[1]`."""

    path: str
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class Unreadable(Finding):
    """An item in a store that does not decode: its kind, and its key as far as that can be told."""

    kind: str = ""
    key: tuple[str, ...] = ()


def unreadable(kind: str, key: Iterable[str], message: str) -> Unreadable:
    """Return the finding that an item does not decode; the path names its key, and the message no text of its."""
    names = tuple(key)
    return Unreadable(f"{kind} {json.dumps(names)}", Severity.ERROR, message, kind, names)


def printable(value: Any) -> str:
    """Return a part of a key as text that can be printed and sent, whatever is stored."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value).encode("utf-8", "backslashreplace").decode()


def error(path: str, message: str) -> Finding:
    """Return a finding that leaves its record out."""
    return Finding(path, Severity.ERROR, message)


def warning(path: str, message: str) -> Finding:
    """Return a finding that leaves its record in."""
    return Finding(path, Severity.WARNING, message)


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the errors among `findings`, in their order."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def step(path: str, key: str | int) -> str:
    """Return `path` one key or index deeper; odd keys are quoted as ASCII, so that a path is safe to print.

    Of a key that is longer than an id the path has the beginning and the length.
    """
    if isinstance(key, int):
        return f"{path}[{key}]"
    if len(key) > _LONGEST_KEY:
        return f"{path}[{json.dumps(key[:_LONGEST_KEY])}… {len(key)} characters]"
    return f"{path}.{key}" if _PLAIN.match(key) else f"{path}[{json.dumps(key)}]"


def path_to(place: Iterable[str | int], start: str = ROOT) -> str:
    """Return the path of a place in a document, given as keys and indexes from its top."""
    path = start
    for key in place:
        path = step(path, key)
    return path
