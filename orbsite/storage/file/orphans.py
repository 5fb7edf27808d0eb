"""Orphan files, known by their names: temporary files of dead processes, set-aside copies, and old tombstone files.

A file whose name does not match a pattern exactly is never treated as an orphan file.
"""

from __future__ import annotations

import calendar
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orbsite.storage.file.checker import examine, is_alive
from orbsite.storage.file.document import LOST_AND_FOUND, Document
from orbsite.storage.file.last_runs import FACTS
from orbsite.storage.file.tombstones import SUFFIX
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.records.domain import Domain

TEMPORARY = r"\.(?P<pid>[0-9]{1,10})\.[0-9a-f]{8}\.tmp"
MOMENT = r"(?P<moment>[0-9]{8}T[0-9]{6}Z)"
DIED = "a temporary file of a process that died"
_STAMP = r"(?P<stamp>[0-9]{16,20})"
_ASIDES = (
    (rf"\.conflict-{_STAMP}", "what another program wrote, kept aside"),
    (rf"\.journal\.conflict-{_STAMP}", "what lay in the place of a journal, kept aside"),
    (rf"\.journal\.adrift-{_STAMP}", "steps that had no place in the document, kept aside"),
    (rf"\.journal\.torn-{_STAMP}", "the torn end of a journal, kept aside"),
    (rf"(?:\.journal)?\.corrupt-{_STAMP}", "what a repair or a restore replaced, kept aside"),
)


@dataclass(frozen=True, slots=True)
class OrphanFile:
    """A file that no process uses."""

    name: str
    reason: str
    size: int
    youngest: int
    """The start of its age, in nanoseconds: the time in its name or of its last change, whichever is later."""
    signature: tuple[int, ...] = ()
    """The status values that show whether the file is unchanged."""

    @classmethod
    def of(cls, name: str, reason: str, status: os.stat_result, stamp: int = 0) -> OrphanFile:
        """Return the orphan file with this status; `stamp` is the nanosecond in its name, 0 if there is none."""
        return cls(name, reason, status.st_size, max(stamp, status.st_mtime_ns), _signature(status))

    def is_over(self, keep: timedelta, now: datetime) -> bool:
        """Tell whether it is older than `keep`."""
        return self.youngest < (now.timestamp() - keep.total_seconds()) * 10**9

    def is_still(self, status: os.stat_result | None) -> bool:
        """Tell whether the file that has its name now is the same file, unchanged."""
        return status is not None and _signature(status) == self.signature


class Spelling:
    """Patterns of file names, each with a description of such files."""

    def __init__(self, patterns: Sequence[tuple[str, str]]) -> None:
        self._patterns = [(re.compile(pattern, re.ASCII | re.DOTALL), reason) for pattern, reason in patterns]

    def __contains__(self, name: str) -> bool:
        return any(pattern.fullmatch(name) for pattern, _ in self._patterns)

    def found(self, directory: Directory) -> Iterator[OrphanFile]:
        """Yield the plain files whose whole name matches a pattern, except those that a living process uses."""
        for name in sorted(directory.names()):
            for pattern, reason in self._patterns:
                match = pattern.fullmatch(name)
                status = directory.status_of(name) if match else None
                if match and status is not None and is_plain(status) and not is_held(match):
                    yield OrphanFile.of(name, reason, status, stamp_of(match))


def of_document(name: str) -> Spelling:
    """Return the patterns of the orphan files beside a document."""
    start = re.escape(name)
    set_aside = [(start + end, reason) for end, reason in _ASIDES]
    return Spelling([(rf"\.{start}(?:\.journal)?{TEMPORARY}", DIED), *set_aside])


def of_lost_and_found(name: str) -> Spelling:
    """Return the patterns of the files in `lost+found` that saves of a document have moved there."""
    return Spelling([(rf"{_STAMP}\.{re.escape(name)}\..+", f"{DIED}, moved to {LOST_AND_FOUND}")])


TOMBSTONE_FILES = Spelling(
    [(rf"(?:{MOMENT}|[A-Za-z0-9])[A-Za-z0-9_.-]*{re.escape(SUFFIX)}", "tombstones of which the time is over")]
)
"""The pattern of tombstone files."""
HALF_TOMBSTONE_FILES = Spelling([(rf"\..+{re.escape(SUFFIX)}{TEMPORARY}", DIED)])
HALF_FACTS = Spelling([(rf"\.{re.escape(FACTS)}{TEMPORARY}", DIED)])


def kept_beside(document: str) -> frozenset[str]:
    """Return the names beside a document that are always in use, and never orphan files."""
    return frozenset({document, f"{document}.journal", f"{document}.prev", f".{document}.lock", LOST_AND_FOUND})


def is_needed(domain: Domain, document: Document, directory: Directory) -> bool:
    """Tell whether a document is missing or damaged, so that the files beside it may hold the only copy of its data."""
    exists = directory.status_of(document.name) is not None
    return not exists or any(issue.trouble.is_damage for issue in examine(domain, document))


def is_plain(status: os.stat_result) -> bool:
    """Tell whether a status is of a regular file with one name, not of a link, a pipe or a directory."""
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def is_held(match: re.Match[str]) -> bool:
    """Tell whether the process whose id is in a file name is alive."""
    pid = match.groupdict().get("pid")
    return pid is not None and is_alive(int(pid))


def stamp_of(match: re.Match[str]) -> int:
    """Return the time in a file name, in nanoseconds, 0 if there is none."""
    groups = match.groupdict()
    if groups.get("moment"):
        return moment_of(groups["moment"])
    return int(groups.get("stamp") or 0)


def moment_of(text: str) -> int:
    """Return the nanosecond at which a second such as `20260102T030405Z` ends; for an invalid time, 2**80."""
    try:
        return (calendar.timegm(time.strptime(text, "%Y%m%dT%H%M%SZ")) + 1) * 10**9
    except ValueError:
        return 2**80


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_nlink, status.st_mode
