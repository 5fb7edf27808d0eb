"""Checks of a document, its journal and the files beside them. A check takes no lock and writes nothing."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from orbsite.storage.errors import DocumentCorrupt, DocumentError, KeyUnavailable, NewerVersion, NotSealed
from orbsite.storage.file.cache import Replica, look
from orbsite.storage.file.document import Document
from orbsite.storage.file.journal import Scan
from orbsite.storage.filesystem.directory import Directory, ReadFile
from orbsite.storage.records.domain import Domain

_OTHERS = 0o077
_TEMPORARY = re.compile(r"\.(\d+)\.[0-9a-f]+\.tmp")


class IssueKind(StrEnum):
    """The kinds of issues, the worst first."""

    REFUSED = "refused"
    MISSING = "missing"
    CORRUPT = "corrupt"
    NEWER = "newer"
    DAMAGED = "damaged"
    ADRIFT = "adrift"
    EDITED = "edited"
    TORN = "torn"
    LEFTOVER = "leftover"
    OPEN = "open"
    ASIDE = "aside"

    @property
    def is_damage(self) -> bool:
        """Whether saved data cannot be read."""
        return list(IssueKind).index(self) <= list(IssueKind).index(IssueKind.ADRIFT)


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue with one file; `name` is the file's name."""

    trouble: IssueKind
    name: str
    message: str


def examine(domain: Domain, document: Document) -> list[Issue]:
    """Return all issues, the worst first; an empty list for a document that was never saved."""
    try:
        with document.reading() as directory:
            found = [] if directory is None else list(_issues(domain, document, directory))
    except (NotSealed, KeyUnavailable):
        raise
    except DocumentError as problem:
        found = [Issue(IssueKind.REFUSED, document.name, str(problem))]
    return sorted(found, key=lambda issue: list(IssueKind).index(issue.trouble))


def _issues(domain: Domain, document: Document, directory: Directory) -> Iterator[Issue]:
    names, highest = sorted(directory.names()), document.highest_generation()
    try:
        scan, found = look(document, directory)
    except DocumentCorrupt as problem:
        yield Issue(IssueKind.NEWER, document.journal, str(problem))
        scan, found = None, directory.look(document.name)
    if found is None:
        beside = document.beside(names)
        if beside:
            yield Issue(IssueKind.MISSING, document.name, f"is missing, and there is {', '.join(beside)}")
    else:
        yield from _of_document(domain, document, directory, found, scan, highest=highest)
    if scan is not None:
        yield from _of_journal(document, scan)
    for name in names:
        yield from _beside(document, directory, name)


def _of_document(
    domain: Domain, document: Document, directory: Directory, found: ReadFile, scan: Scan | None, *, highest: int
) -> Iterator[Issue]:
    try:
        replica = Replica(domain, document, found, directory.fs.nanoseconds(), scan, highest=highest)
    except NewerVersion as problem:
        yield Issue(IssueKind.NEWER, document.name, f"{problem.path} {problem.reason}")
        return
    except DocumentCorrupt as problem:
        yield Issue(IssueKind.CORRUPT, document.name, f"cannot be read: {problem.__cause__}")
        return
    if replica.adrift:
        message = f"holds {len(replica.adrift)} steps that have no place in the document, which another program changed"
        yield Issue(IssueKind.ADRIFT, document.journal, message)
    if replica.is_foreign and not replica.is_folded:
        message = "another program has changed it since the journal was begun; the journal's saves are put on top of it"
        yield Issue(IssueKind.EDITED, document.name, message)
    elif found.stamp is not None and found.stamp != replica.digest:
        message = "its bytes are not those that were saved: another program has changed it, or the disk has"
        yield Issue(IssueKind.EDITED, document.name, message)


def _of_journal(document: Document, scan: Scan) -> Iterator[Issue]:
    if scan.damage:
        message = f"{scan.damage}; {len(scan.lines)} good lines before and {len(scan.salvage)} after"
        yield Issue(IssueKind.DAMAGED, document.journal, message)
    elif scan.rest or scan.journal is None:
        message = f"ends in {len(scan.rest)} bytes that are no whole line; no save that was acknowledged ends so"
        yield Issue(IssueKind.TORN, document.journal, message)


def _beside(document: Document, directory: Directory, name: str) -> Iterator[Issue]:
    ours = name in (document.name, document.journal, f"{document.name}.prev")
    temporary = _TEMPORARY.match(name.removeprefix(f".{document.name}").removeprefix(".journal"))
    if temporary and name.startswith(f".{document.name}.") and not is_alive(int(temporary[1])):
        yield Issue(IssueKind.LEFTOVER, name, "was left by a process that died")
    elif name.startswith(f"{document.name}.") and not ours:
        yield Issue(IssueKind.ASIDE, name, "keeps bytes that are not in use; look at it, and remove it when done")
    if ours:
        status = directory.status_of(name)
        if status is not None and stat.S_IMODE(status.st_mode) & _OTHERS:
            yield Issue(IssueKind.OPEN, name, "can be read by other users of this machine")


def is_alive(pid: int) -> bool:
    """Tell whether a process with this id runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
